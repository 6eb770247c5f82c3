//! multipart/related (RFC 2046 section 5.1) as it arrives: bytes are pushed in, whole parts come out. No I/O.
//!
//! Invariants: never more than one part is held, and of it no more than the limit, in memory that serves one part after the other
//! (a new one for each would leave as much again behind in the allocator); each byte is searched once, however small the pieces are
//! in which it comes. (The crate `multer` reads ahead without end while bytes are ready, and searches what
//! it holds again with each piece; and a part without a header is an error for it. DICOMweb allows all of these.)

use bytes::Bytes;

use crate::pages::Pages;

/// No client needs longer headers for a part, or more padding after a delimiter.
const HEADER_LIMIT: usize = 16 * 1024;
/// How much memory is kept for the next part: most radiographs need no more.
const KEPT: usize = 16 << 20;
/// RFC 2046 allows 70 characters; Orthanc sends 73.
const LONGEST_BOUNDARY: usize = 200;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// The content of a part.
    Part(Bytes),
    /// A part that was longer than the limit, and was passed over.
    TooLarge,
    /// The closing delimiter: whatever follows means nothing.
    End,
}

/// Why bytes are not multipart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The boundary cannot be one.
    #[error("the boundary must have 1 to 200 characters and be the one that stands between the parts")]
    Boundary,
    /// What follows a delimiter is neither the end of its line nor `--`.
    #[error("a boundary line must end with CRLF, or with -- after the last part")]
    Delimiter,
    /// The header of a part does not end.
    #[error("the header of a part must end with an empty line within 16 KiB")]
    Header,
    /// The body ended before the closing delimiter.
    #[error("the body ended before the closing boundary: send it whole, with -- after the last boundary")]
    Truncated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preamble,
    Delimiter,
    Header,
    Content { too_large: bool },
    End,
}

/// Reads one multipart body.
#[derive(Debug)]
pub struct MultipartReader {
    /// CRLF, two hyphens, and the boundary.
    delimiter: Vec<u8>,
    limit: usize,
    buffer: Vec<u8>,
    /// How much of the buffer has been searched for what the stage waits for.
    searched: usize,
    stage: Stage,
}

impl MultipartReader {
    /// A reader of parts of at most `limit` bytes.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`] for a boundary that is empty or has more than 200 characters.
    pub fn new(boundary: &str, limit: usize) -> Result<Self, MultipartError> {
        if !(1..=LONGEST_BOUNDARY).contains(&boundary.len()) {
            return Err(MultipartError::Boundary);
        }
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // the first delimiter may stand at the very start: give it the line end that the others have
        Ok(Self {
            delimiter,
            limit,
            buffer: b"\r\n".to_vec(),
            searched: 0,
            stage: Stage::Preamble,
        })
    }

    /// Takes the next bytes of the body. Ask [`MultipartReader::step`] until it wants more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.stage != Stage::End {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes it has in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Gives back the memory of a long part that is done.
    pub fn shrink(&mut self) {
        self.buffer.shrink_to(KEPT);
    }

    /// What the bytes pushed so far amount to.
    ///
    /// # Errors
    /// [`MultipartError`]; nothing more can be read then.
    pub fn step(&mut self) -> Result<Step, MultipartError> {
        loop {
            match self.stage {
                Stage::End => return Ok(Step::End),
                Stage::Preamble => {
                    let Some(at) = self.find() else {
                        self.discard_searched();
                        return Ok(Step::More);
                    };
                    self.pass(at + self.delimiter.len(), Stage::Delimiter);
                }
                Stage::Delimiter => {
                    let padding = self
                        .buffer
                        .iter()
                        .take_while(|byte| matches!(byte, b' ' | b'\t'))
                        .count();
                    match self.buffer.get(padding..padding + 2) {
                        // the line end stays: in front of an empty header it is a part of what ends the header
                        Some(b"\r\n") => self.pass(padding, Stage::Header),
                        Some(b"--") if padding == 0 => self.pass(2, Stage::End),
                        Some(_) => return Err(MultipartError::Delimiter),
                        None if padding > HEADER_LIMIT => return Err(MultipartError::Delimiter),
                        None => return Ok(Step::More),
                    }
                }
                Stage::Header => match find(&self.buffer[self.searched..], b"\r\n\r\n") {
                    Some(at) if self.searched + at <= HEADER_LIMIT => {
                        self.pass(self.searched + at + 4, Stage::Content { too_large: false });
                    }
                    None if self.buffer.len() <= HEADER_LIMIT + 4 => {
                        self.searched = self.buffer.len().saturating_sub(3);
                        return Ok(Step::More);
                    }
                    _ => return Err(MultipartError::Header),
                },
                Stage::Content { too_large } => {
                    let Some(at) = self.find() else {
                        let too_large = too_large || self.searched > self.limit;
                        if too_large {
                            self.stage = Stage::Content { too_large };
                            self.discard_searched();
                        }
                        return Ok(Step::More);
                    };
                    let step = if too_large || at > self.limit {
                        Step::TooLarge
                    } else {
                        Step::Part(Pages::copy_of(&self.buffer[..at]))
                    };
                    self.pass(at + self.delimiter.len(), Stage::Delimiter);
                    return Ok(step);
                }
            }
        }
    }

    /// Says whether the body may end here.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`] where the boundary never came, [`MultipartError::Truncated`] where the closing one
    /// did not.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.stage {
            Stage::End => Ok(()),
            Stage::Preamble => Err(MultipartError::Boundary),
            _ => Err(MultipartError::Truncated),
        }
    }

    fn pass(&mut self, bytes: usize, stage: Stage) {
        self.buffer.drain(..bytes);
        self.searched = 0;
        self.stage = stage;
    }

    /// Where the delimiter is; otherwise remembers what need not be searched again.
    fn find(&mut self) -> Option<usize> {
        let found = find(&self.buffer[self.searched..], &self.delimiter).map(|at| self.searched + at);
        if found.is_none() {
            self.searched = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
        }
        found
    }

    fn discard_searched(&mut self) {
        self.buffer.drain(..self.searched);
        self.searched = 0;
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes of `body`, pushed in pieces of `size`.
    fn read(body: &[u8], size: usize, limit: usize) -> Result<Vec<Step>, MultipartError> {
        let mut reader = MultipartReader::new("b", limit)?;
        let mut steps = Vec::new();
        for piece in body.chunks(size) {
            reader.push(piece);
            loop {
                match reader.step()? {
                    Step::More | Step::End => break,
                    step => steps.push(step),
                }
            }
        }
        reader.finish().map(|()| steps)
    }

    fn part(content: &[u8]) -> Step {
        Step::Part(Bytes::copy_from_slice(content))
    }

    #[test]
    fn reads_the_same_parts_in_pieces_of_every_size() {
        let body = b"preamble\r\n--b\r\nContent-Type: application/dicom\r\nX: y\r\n\r\n\r\n--a\r\n\r\n--\r\n--b \t\r\n\r\nno header\r\n--b\r\nA: b\r\n\r\n\r\n--b--\r\nepilogue --b";
        for size in 1..=body.len() {
            let parts = vec![part(b"\r\n--a\r\n\r\n--"), part(b"no header"), part(b"")];
            assert_eq!(read(body, size, 100), Ok(parts), "{size}");
        }
    }

    #[test]
    fn a_part_over_the_limit_is_passed_over_and_not_held() {
        let body = [
            b"--b\r\n\r\n".as_slice(),
            &[7; 1000],
            b"\r\n--b\r\n\r\nsmall\r\n--b--",
        ]
        .concat();
        for size in [1, 3, 64, body.len()] {
            assert_eq!(
                read(&body, size, 999),
                Ok(vec![Step::TooLarge, part(b"small")]),
                "{size}"
            );
            assert_eq!(
                read(&body, size, 1000),
                Ok(vec![part(&[7; 1000]), part(b"small")]),
                "{size}"
            );
        }
        let mut reader = MultipartReader::new("b", 10).unwrap();
        reader.push(b"--b\r\n\r\n");
        for _ in 0..1000 {
            reader.push(&[7; 100]);
            assert_eq!(reader.step(), Ok(Step::More));
            assert!(reader.buffer.len() < 120);
        }
    }

    #[test]
    fn what_is_not_multipart_says_why() {
        for size in [1, 1000] {
            assert_eq!(read(b"", size, 9), Err(MultipartError::Boundary));
            assert_eq!(
                read(b"--c\r\n\r\nx\r\n--c--", size, 9),
                Err(MultipartError::Boundary)
            );
            assert_eq!(read(b"--b\r\n\r\nx", size, 9), Err(MultipartError::Truncated));
            assert_eq!(read(b"--b\r\nA: b", size, 9), Err(MultipartError::Truncated));
            assert_eq!(
                read(b"--b\r\n\r\nx\r\n--bb\r\n", size, 9),
                Err(MultipartError::Delimiter)
            );
            assert_eq!(
                read(&[b"--b\r\n".as_slice(), &b"x".repeat(20_000)].concat(), size, 9),
                Err(MultipartError::Header)
            );
            assert_eq!(
                read(&[b"--b".as_slice(), &b" ".repeat(20_000)].concat(), size, 9),
                Err(MultipartError::Delimiter)
            );
            assert_eq!(read(b"--b--", size, 9), Ok(vec![]));
        }
        // of Orthanc's length: two UUIDs
        assert!(MultipartReader::new(&"b".repeat(73), 9).is_ok());
        assert_eq!(MultipartReader::new("", 9).unwrap_err(), MultipartError::Boundary);
        assert_eq!(
            MultipartReader::new(&"b".repeat(LONGEST_BOUNDARY + 1), 9).unwrap_err(),
            MultipartError::Boundary
        );
    }
}
