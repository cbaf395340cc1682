//! Protobuf's wire format, as far as ONNX files need it: a message is a list of numbered fields.

/// The fields of a message, in the order of the bytes.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// After a malformed field nothing more can be read.
    failed: bool,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A whole number, unsigned.
    Number(u64),
    /// A string, a message, bytes or a packed list.
    Bytes(&'a [u8]),
    /// Four or eight bytes.
    Fixed(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// The fields of a message.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, failed: false }
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = u32::try_from(self.varint()?).ok()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed(self.take(4)?),
            // Groups, which ONNX does not use, and what is not assigned.
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            // Only one bit of the tenth byte has a place.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    /// The field's number and value.
    type Item = Result<(u32, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        self.failed = field.is_none();
        Some(field.ok_or_else(|| "it is not a complete ONNX file".into()))
    }
}

/// The numbers of a packed list, the value of a repeated field.
///
/// # Errors
/// The last number has no end, or a number has more than 64 bits.
pub fn packed(list: &[u8]) -> Result<Vec<u64>, String> {
    let mut bytes = Fields::new(list);
    let mut numbers = Vec::new();
    while !bytes.rest.is_empty() {
        numbers.push(bytes.varint().ok_or("a list in it is not complete")?);
    }
    Ok(numbers)
}

/// Appends a field to a message.
pub fn append(message: &mut Vec<u8>, number: u32, value: Value<'_>) {
    let tag = |kind: u64| u64::from(number) << 3 | kind;
    match value {
        Value::Number(n) => {
            append_varint(message, tag(0));
            append_varint(message, n);
        }
        Value::Bytes(bytes) => {
            append_varint(message, tag(2));
            append_varint(message, bytes.len() as u64);
            message.extend_from_slice(bytes);
        }
        Value::Fixed(bytes) => {
            append_varint(message, tag(if bytes.len() == 8 { 1 } else { 5 }));
            message.extend_from_slice(bytes);
        }
    }
}

fn append_varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_reads_back() {
        let fields = [
            (1, Value::Number(0)),
            (2, Value::Number(u64::MAX)),
            (15, Value::Bytes(b"text")),
            (16, Value::Bytes(&[7; 300])),
            (17, Value::Fixed(&[1; 4])),
            (1 << 28, Value::Fixed(&[2; 8])),
        ];
        let mut message = Vec::new();
        fields.iter().for_each(|&(number, value)| append(&mut message, number, value));
        let read: Vec<_> = Fields::new(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, fields);
    }

    #[test]
    fn packed_lists() {
        assert_eq!(packed(&[3, 0x80, 0x04, 1]).unwrap(), [3, 512, 1]);
        assert_eq!(packed(&[]).unwrap(), [0u64; 0]);
        assert!(packed(&[3, 0x80]).is_err() && packed(&[0xff; 11]).is_err());
    }
}
