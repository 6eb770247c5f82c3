//! Python's pickle, as far as it describes tensors.
//!
//! A pickle is a program for a machine with a stack and a memo, and Python lets it call anything. This machine calls nothing:
//! it knows the few constructors that `torch.save` uses for tensors, and makes a blank of every other object. Values live in
//! one list and refer to one another by place, so nothing is copied and what refers to itself does no harm.

use std::collections::BTreeMap;

/// A place in [`Pickle::values`].
pub(crate) type Id = usize;

/// What a pickle can describe.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `None`, a number with a fraction, bytes, or an object that is no part of a tensor.
    Blank,
    /// A whole number or truth value.
    Whole(i64),
    /// A text.
    Text(String),
    /// A tuple, list or set.
    Sequence(Vec<Id>),
    /// A dictionary, in its order.
    Dictionary(Vec<(Id, Id)>),
    /// A class or function by module and name.
    Named(String, String),
    /// Where a tensor's numbers are.
    Storage(Storage),
    /// A tensor.
    Tensor(Tensor),
}

/// Numbers in a row, kept outside the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    /// PyTorch's class, such as `FloatStorage`.
    pub(crate) class: String,
    /// Their name in the file.
    pub(crate) key: String,
    /// How many they are.
    pub(crate) count: usize,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Its numbers.
    pub(crate) storage: Storage,
    /// The first of them.
    pub(crate) offset: usize,
    /// Sizes.
    pub(crate) shape: Vec<usize>,
    /// Steps from one index to the next, in numbers.
    pub(crate) strides: Vec<usize>,
}

/// A pickle that was read.
#[derive(Debug)]
pub(crate) struct Pickle {
    /// Everything that it describes.
    pub(crate) values: Vec<Value>,
    /// What it stands for as a whole.
    pub(crate) root: Id,
    /// Its length in bytes.
    pub(crate) length: usize,
}

/// Reads the pickle at the start of `bytes`.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn read(bytes: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    loop {
        let code = machine.byte()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle {
                values: machine.values,
                root,
                length: machine.at,
            });
        }
        machine.step(code)?;
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Id>,
}

impl<'a> Machine<'a> {
    /// One instruction; the codes are those of Python's `pickletools`.
    fn step(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            // PROTO, FRAME
            0x80 => return self.skip(1),
            0x95 => return self.skip(8),
            // NONE, BINFLOAT, FLOAT
            b'N' => Value::Blank,
            b'G' => self.skip(8).map(|()| Value::Blank)?,
            b'F' => self.line().map(|_| Value::Blank)?,
            // NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1
            0x88 => Value::Whole(1),
            0x89 => Value::Whole(0),
            b'J' => Value::Whole(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Whole(self.byte()?.into()),
            b'M' => Value::Whole(u16::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and the byte texts of Python 2: BINSTRING, SHORT_BINSTRING
            b'X' | b'T' => self.length4().and_then(|length| self.text(length))?,
            0x8c | b'U' => self.length1().and_then(|length| self.text(length))?,
            0x8d => self.length8().and_then(|length| self.text(length))?,
            // BINBYTES, SHORT_BINBYTES, BINBYTES8
            b'B' => self.length4().and_then(|length| self.blank(length))?,
            b'C' => self.length1().and_then(|length| self.blank(length))?,
            0x8e => self.length8().and_then(|length| self.blank(length))?,
            // EMPTY_TUPLE, EMPTY_LIST, EMPTY_SET; TUPLE1 to TUPLE3; TUPLE, LIST
            b')' | b']' | 0x8f => Value::Sequence(Vec::new()),
            0x85..=0x87 => Value::Sequence(self.last(usize::from(code - 0x84))?),
            b't' | b'l' => Value::Sequence(self.since_mark()?),
            // EMPTY_DICT
            b'}' => Value::Dictionary(Vec::new()),
            // GLOBAL, STACK_GLOBAL
            b'c' => Value::Named(self.line()?, self.line()?),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                Value::Named(self.as_text(module)?, self.as_text(name)?)
            }
            // REDUCE, NEWOBJ: a class and its arguments; BINPERSID: what is kept outside
            b'R' | 0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.made(class, arguments)?
            }
            b'Q' => {
                let place = self.pop()?;
                Value::Storage(self.storage(place)?)
            }
            _ => return self.change(code),
        };
        self.push(value);
        Ok(())
    }

    /// The instructions that make nothing, and change what is there.
    fn change(&mut self, code: u8) -> Result<(), String> {
        match code {
            // MARK, POP, POP_MARK; BUILD sets an object's state
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' | b'b' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            // APPEND; APPENDS, ADDITEMS
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.append(&items)
            }
            // SETITEM, SETITEMS, DICT
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dictionary(Vec::new()));
                self.set(&items)
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.length1().and_then(|place| self.remember(place)),
            b'r' => self.length4().and_then(|place| self.remember(place)),
            0x94 => self.remember(self.memo.len()),
            b'h' => self.length1().and_then(|place| self.recall(place)),
            b'j' => self.length4().and_then(|place| self.recall(place)),
            code => Err(format!(
                "its pickle has the instruction {code:#04x}, which tensors do not need; save it again with torch.save(model.state_dict(), file)"
            )),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let taken = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or("its pickle is cut off")?;
        self.at += length;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.take(length).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "its pickle is cut off".to_owned())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn length1(&mut self) -> Result<usize, String> {
        Ok(usize::from(self.byte()?))
    }

    fn length4(&mut self) -> Result<usize, String> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|error| error.to_string())
    }

    fn length8(&mut self) -> Result<usize, String> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|error| error.to_string())
    }

    /// A whole number of up to 8 bytes; a longer one, such as the file's magic number, is blank.
    fn long(&mut self) -> Result<Value, String> {
        let length = self.length1()?;
        let bytes = self.take(length)?;
        if length > 8 {
            return Ok(Value::Blank);
        }
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..length].copy_from_slice(bytes);
        Ok(Value::Whole(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, length: usize) -> Result<Value, String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        Ok(Value::Text(text))
    }

    fn blank(&mut self, length: usize) -> Result<Value, String> {
        self.skip(length)?;
        Ok(Value::Blank)
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("its pickle is cut off")?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        // what is below a mark is out of reach until the mark is used
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(EMPTY.to_owned());
        }
        self.stack.pop().ok_or_else(|| EMPTY.to_owned())
    }

    fn last(&mut self, count: usize) -> Result<Vec<Id>, String> {
        let from = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or(EMPTY)?;
        if mark > self.stack.len() {
            return Err(EMPTY.to_owned());
        }
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let list = *self.stack.last().ok_or(EMPTY)?;
        if let Value::Sequence(own) = &mut self.values[list] {
            own.extend_from_slice(items);
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let dictionary = *self.stack.last().ok_or(EMPTY)?;
        if let Value::Dictionary(own) = &mut self.values[dictionary] {
            let (pairs, _) = items.as_chunks::<2>();
            own.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        }
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<(), String> {
        let top = *self.stack.last().ok_or(EMPTY)?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), String> {
        let id = self
            .memo
            .get(&place)
            .ok_or("its pickle recalls what it has not remembered")?;
        self.stack.push(*id);
        Ok(())
    }

    fn as_text(&self, id: Id) -> Result<String, String> {
        match &self.values[id] {
            Value::Text(text) => Ok(text.clone()),
            _ => Err("its pickle has something else where a text belongs".to_owned()),
        }
    }

    fn as_size(&self, id: Id) -> Result<usize, String> {
        match &self.values[id] {
            Value::Whole(number) => usize::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| "its pickle has something else where a size belongs".to_owned())
    }

    fn items(&self, id: Id) -> Result<&[Id], String> {
        match &self.values[id] {
            Value::Sequence(items) => Ok(items),
            _ => Err("its pickle has something else where a list belongs".to_owned()),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>, String> {
        self.items(id)?.iter().map(|item| self.as_size(*item)).collect()
    }

    /// What a class makes of its arguments, for the few classes of which tensors are made.
    fn made(&self, class: Id, arguments: Id) -> Result<Value, String> {
        let Value::Named(module, name) = &self.values[class] else {
            return Ok(Value::Blank);
        };
        match (module.as_str(), name.as_str()) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => {
                let [storage, offset, shape, strides, ..] = self.items(arguments)? else {
                    return Err("its pickle makes a tensor of too little".to_owned());
                };
                let Value::Storage(storage) = &self.values[*storage] else {
                    return Err("its pickle makes a tensor without numbers".to_owned());
                };
                Ok(Value::Tensor(Tensor {
                    storage: storage.clone(),
                    offset: self.as_size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                }))
            }
            ("torch._utils", "_rebuild_parameter") => {
                let data = self.items(arguments)?.first().map(|id| &self.values[*id]);
                Ok(data.cloned().unwrap_or(Value::Blank))
            }
            ("collections", "OrderedDict") => self.ordered(arguments),
            _ => Ok(Value::Blank),
        }
    }

    /// An ordered dictionary of nothing, or of a list of pairs.
    fn ordered(&self, arguments: Id) -> Result<Value, String> {
        let mut pairs = Vec::new();
        if let Some(list) = self.items(arguments)?.first() {
            for pair in self.items(*list)? {
                if let [key, value] = self.items(*pair)? {
                    pairs.push((*key, *value));
                }
            }
        }
        Ok(Value::Dictionary(pairs))
    }

    /// `("storage", class, key, device, count)`, and in old files a view, which none of them uses.
    fn storage(&self, place: Id) -> Result<Storage, String> {
        let wrong = || "its pickle keeps something else than numbers outside".to_owned();
        let [kind, class, key, _, count, ..] = self.items(place)? else {
            return Err(wrong());
        };
        let Value::Named(_, class) = &self.values[*class] else {
            return Err(wrong());
        };
        if self.as_text(*kind)? != "storage" {
            return Err(wrong());
        }
        Ok(Storage {
            class: class.clone(),
            key: self.as_text(*key)?,
            count: self.as_size(*count)?,
        })
    }
}

const EMPTY: &str = "its pickle takes from an empty stack";
