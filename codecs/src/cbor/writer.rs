//! How is deterministic CBOR written? (WIRE 1.2) Writing trusts its caller: keys are given in ascending order.

/// Appends items to a vector, each head in its shortest form.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer at the end of `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    #[expect(clippy::cast_possible_truncation, reason = "each arm is bounded by its width")]
    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        match argument {
            0..=23 => self.out.push(major | argument as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, argument as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&(argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&argument.to_be_bytes());
            }
        }
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) {
        self.head(0, value);
    }

    /// An integer of either sign.
    pub fn int(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            Err(_) => self.head(1, value.unsigned_abs().wrapping_sub(1)),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(2, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// A text.
    pub fn text(&mut self, value: &str) {
        self.head(3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// The head of an array of `count` items, which follow.
    pub fn array(&mut self, count: usize) {
        self.head(4, count as u64);
    }

    /// The head of a map of `count` pairs, which follow with their keys in ascending order.
    pub fn map(&mut self, count: usize) {
        self.head(5, count as u64);
    }

    /// The head of a tag; the tagged item follows.
    pub fn tag(&mut self, tag: u64) {
        self.head(6, tag);
    }

    /// false or true.
    pub fn bool(&mut self, value: bool) {
        self.out.push(0xf4 | u8::from(value));
    }

    /// null.
    pub fn null(&mut self) {
        self.out.push(0xf6);
    }
}

/// Writes a map of at most 23 pairs whose number is known only at the end.
#[derive(Debug)]
#[must_use = "the map is complete only after finish"]
pub struct MapWriter<'a> {
    writer: Writer<'a>,
    head: usize,
    count: u8,
}

impl<'a> MapWriter<'a> {
    /// Begins a map at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let head = out.len();
        out.push(0xa0);
        Self { writer: Writer::new(out), head, count: 0 }
    }

    /// Writes a key; the caller writes its value next. Keys are given in ascending order.
    pub fn key(&mut self, key: u64) -> &mut Writer<'a> {
        debug_assert!(self.count < 23, "a map writer writes at most 23 pairs");
        self.count = self.count.saturating_add(1);
        self.writer.uint(key);
        &mut self.writer
    }

    /// Completes the map.
    pub fn finish(self) {
        if let Some(head) = self.writer.out.get_mut(self.head) {
            *head = 0xa0 | self.count.min(23);
        }
    }
}
