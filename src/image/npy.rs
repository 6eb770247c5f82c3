//! Arrays as `NumPy` files (format version 1.0, NEP 1), for people who want to look at what a stage made.

/// A number that `NumPy` has a name for.
pub trait Number: Copy {
    /// Its type in an array's header.
    const DESCRIPTION: &'static str;
    /// Appends its little-endian bytes.
    fn write(self, bytes: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($number:ty => $description:literal),*) => {
        $(impl Number for $number {
            const DESCRIPTION: &'static str = $description;
            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        })*
    };
}
numbers!(u16 => "<u2", i16 => "<i2", f32 => "<f4", f64 => "<f8");

/// The bytes of a file with `values` in row-major order.
#[must_use]
pub fn array<N: Number>(shape: &[usize], values: &[N]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    let mut header = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({},), }}",
        N::DESCRIPTION,
        sides.join(", ")
    );
    // magic, version, length and header together are a multiple of 64, and end with a new line
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    for value in values {
        value.write(&mut bytes);
    }
    bytes
}
