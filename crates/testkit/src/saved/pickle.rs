//! Pickles, opcode by opcode (CPython's `pickletools`), protocol 2.

/// A pickle that is being written.
#[derive(Clone, Debug, Default)]
pub struct Pickle(Vec<u8>);

impl Pickle {
    /// With its protocol.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    /// Opcodes as they are.
    #[must_use]
    pub fn raw(mut self, opcodes: &[u8]) -> Self {
        self.0.extend(opcodes);
        self
    }

    /// `GLOBAL`.
    #[must_use]
    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// `BINUNICODE`.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    /// `LONG1` of eight bytes.
    #[must_use]
    pub fn integer(self, number: u64) -> Self {
        self.raw(&[0x8a, 8]).raw(&number.to_le_bytes())
    }

    /// A tuple of integers.
    #[must_use]
    pub fn integers(self, numbers: &[u64]) -> Self {
        numbers.iter().fold(self.raw(b"("), |pickle, number| pickle.integer(*number)).raw(b"t")
    }

    /// A call of `torch._utils._rebuild_tensor_v2` on the storage `key` of `count` elements; `id_end` ends the storage's id.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the function that is called")]
    pub fn tensor(
        self,
        dtype: &str,
        key: &str,
        count: u64,
        id_end: &[u8],
        offset: u64,
        shape: &[u64],
        strides: &[u64],
    ) -> Self {
        let storage = match dtype {
            "F32" => "FloatStorage",
            "F16" => "HalfStorage",
            "BF16" => "BFloat16Storage",
            _ => "LongStorage",
        };
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", storage)
            .text(key)
            .text("cpu")
            .integer(count)
            .raw(id_end)
            .raw(b"tQ")
            .integer(offset)
            .integers(shape)
            .integers(strides)
            // No gradient, no hooks.
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    /// The finished pickle.
    #[must_use]
    pub fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}
