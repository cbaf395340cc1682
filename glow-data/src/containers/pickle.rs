//! What a Python pickle holds, without running any of it.
//!
//! A pickle is a program for a stack machine, which may call any Python function. Here a call is only noted
//! with its arguments, so that a file from a stranger can do nothing.

use std::collections::HashMap;
use std::ops::Range;

/// An object of the pickle; others are meant by their places in [`Pickle::objects`].
#[derive(Debug, Clone)]
enum Object {
    /// Something that is of no interest, such as None or a float.
    Other,
    Int(i64),
    /// A string or bytes: where they are in the file.
    Bytes(Range<usize>),
    /// A list or a tuple.
    Sequence(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// What a call returned, with what was set on it afterwards.
    Called {
        state: Option<usize>,
    },
}

/// A pickle read to its end.
pub(crate) struct Pickle<'a> {
    file: &'a [u8],
    objects: Vec<Object>,
    root: usize,
}

/// A two-dimensional numpy array of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ByteArray<'a> {
    pub rows: usize,
    pub columns: usize,
    pub bytes: &'a [u8],
}

impl<'a> Pickle<'a> {
    /// Reads a pickle of protocols 2 to 5.
    pub fn parse(file: &'a [u8]) -> Result<Self, String> {
        Machine {
            file,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
        .run()
    }

    /// The value of a key of the dictionary that the pickle is.
    fn value(&self, key: &str) -> Option<usize> {
        let Object::Dict(entries) = &self.objects[self.root] else { return None };
        let matches = |&&(name, _): &&(usize, usize)| self.bytes(name) == Some(key.as_bytes());
        entries.iter().find(matches).map(|&(_, value)| value)
    }

    fn bytes(&self, object: usize) -> Option<&'a [u8]> {
        match &self.objects[object] {
            Object::Bytes(range) => Some(&self.file[range.clone()]),
            _ => None,
        }
    }

    fn int(&self, object: usize) -> Option<i64> {
        match self.objects[object] {
            Object::Int(value) => Some(value),
            _ => None,
        }
    }

    fn sequence(&self, object: usize) -> Option<&[usize]> {
        match &self.objects[object] {
            Object::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The whole numbers of the list under `key`.
    pub fn integers(&self, key: &str) -> Option<Vec<i64>> {
        self.sequence(self.value(key)?)?.iter().map(|&item| self.int(item)).collect()
    }

    /// The numpy array of bytes under `key`: its state is (version, shape, type, Fortran order, bytes).
    pub fn byte_array(&self, key: &str) -> Option<ByteArray<'a>> {
        let Object::Called { state: Some(state) } = self.objects[self.value(key)?] else { return None };
        let &[_, shape, _, fortran, bytes] = self.sequence(state)? else { return None };
        let &[rows, columns] = self.sequence(shape)? else { return None };
        let side = |object| usize::try_from(self.int(object)?).ok();
        let array = ByteArray { rows: side(rows)?, columns: side(columns)?, bytes: self.bytes(bytes)? };
        let whole = array.rows.checked_mul(array.columns) == Some(array.bytes.len());
        (whole && self.int(fortran) == Some(0)).then_some(array)
    }
}

struct Machine<'a> {
    file: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<usize, usize>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, String> {
        loop {
            let at = self.at;
            let code = self.take(1)?[0];
            if code == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { file: self.file, objects: self.objects, root });
            }
            self.step(code).map_err(|what| format!("{what}, at byte {at}"))?;
        }
    }

    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' | b'}' | b']' | b')' => self.push(match code {
                b'}' => Object::Dict(Vec::new()),
                b'N' => Object::Other,
                _ => Object::Sequence(Vec::new()),
            }),
            0x88 | 0x89 => self.push(Object::Int(i64::from(code == 0x88))),
            b'K' | b'M' | b'J' => {
                let width = [(b'K', 1), (b'M', 2), (b'J', 4)].into_iter().find(|(c, _)| *c == code);
                let bytes = self.take(width.map_or(1, |(_, width)| width))?;
                let value = match *bytes {
                    [a] => i64::from(a),
                    [a, b] => i64::from(u16::from_le_bytes([a, b])),
                    [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
                    _ => unreachable!("one, two or four bytes"),
                };
                self.push(Object::Int(value));
            }
            b'G' => {
                self.take(8)?;
                self.push(Object::Other);
            }
            b'U' | b'C' | 0x8c => self.string(1)?,
            b'T' | b'B' | b'X' => self.string(4)?,
            0x8d | 0x8e => self.string(8)?,
            b'c' => {
                for _ in 0..2 {
                    while self.take(1)?[0] != b'\n' {}
                }
                self.push(Object::Other);
            }
            0x93 => {
                self.pop()?;
                self.pop()?;
                self.push(Object::Other);
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Object::Sequence(items));
            }
            0x85..=0x87 => {
                let n = usize::from(code - 0x84);
                let begin = self.stack.len().checked_sub(n).ok_or("the stack is too short")?;
                let items = self.stack.split_off(begin);
                self.push(Object::Sequence(items));
            }
            b'R' | 0x81 => {
                self.pop()?;
                self.pop()?;
                self.push(Object::Called { state: None });
            }
            b'b' => {
                let state = self.pop()?;
                if let Object::Called { state: slot } = self.top()? {
                    *slot = Some(state);
                }
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            b'q' | b'r' => {
                let place = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' | b'j' => {
                let place = self.number(if code == b'h' { 1 } else { 4 })?;
                let object = *self.memo.get(&place).ok_or("it recalls what it did not note")?;
                self.stack.push(object);
            }
            _ => return Err(format!("the instruction {code:#04x} is not among those of numpy's pickles")),
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.file.len());
        let end = end.ok_or("the file ends too early")?;
        Ok(&self.file[std::mem::replace(&mut self.at, end)..end])
    }

    fn number(&mut self, width: usize) -> Result<usize, String> {
        let bytes = self.take(width)?;
        let value = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).map_err(|_| "a length that is too large".into())
    }

    fn string(&mut self, width: usize) -> Result<(), String> {
        let length = self.number(width)?;
        let begin = self.at;
        self.take(length)?;
        self.push(Object::Bytes(begin..begin + length));
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn top(&mut self) -> Result<&mut Object, String> {
        let top = *self.stack.last().ok_or("the stack is empty")?;
        Ok(&mut self.objects[top])
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn extend(&mut self, items: Vec<usize>) -> Result<(), String> {
        match self.top()? {
            Object::Sequence(list) => list.extend(items),
            _ => return Err("it appends to what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[usize]) -> Result<(), String> {
        match self.top()? {
            Object::Dict(entries) => entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err("it sets an entry of what is no dictionary".into()),
        }
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<(), String> {
        let object = *self.stack.last().ok_or("the stack is empty")?;
        self.memo.insert(place, object);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_make_no_sense_are_errors() {
        for file in [
            &b""[..],
            b".",
            b"\x80",
            b"K",
            b"]\x85R.",
            b"tt.",
            b"(]e",
            b"}K\x01a.",
            b"h\x00.",
            b"U\xFFab.",
            b"\x8e\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            b"Nr\xFF\xFF\xFF\x7Fj\xFF\xFF\xFF\x7E.",
            b"i",
        ] {
            assert!(Pickle::parse(file).is_err(), "{file:?}");
        }
    }
}
