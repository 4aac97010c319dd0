//! How the elements of a tensor are stored in a safetensors file: every dtype of that format, by its name there.
//!
//! Packs edit three of them; the others pass through untouched, but their sizes must be known to find any tensor.

use taskvec_pack::Dtype;

macro_rules! stored_dtypes {
    ($($variant:ident $name:literal $bits:literal $meaning:literal,)*) => {
        /// Element type of a tensor in a safetensors file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum StoredDtype {
            $(#[doc = $meaning] $variant,)*
        }

        impl StoredDtype {
            #[cfg(test)]
            const ALL: &[StoredDtype] = &[$(StoredDtype::$variant,)*];

            /// Its name in a safetensors header, for instance `BF16`.
            pub fn name(self) -> &'static str {
                match self { $(StoredDtype::$variant => $name,)* }
            }

            /// The elements in `bytes` as f32, of a dtype that quantizers write weights in (I8, U8, I32; of the last, the
            /// nearest f32); none for any other.
            pub fn whole_numbers(self, bytes: &[u8]) -> Option<Vec<f32>> {
                Some(match self {
                    StoredDtype::I8 => bytes.iter().map(|&byte| f32::from(byte as i8)).collect(),
                    StoredDtype::U8 => bytes.iter().map(|&byte| f32::from(byte)).collect(),
                    StoredDtype::I32 => {
                        bytes.as_chunks().0.iter().map(|&word| i32::from_le_bytes(word) as f32).collect()
                    }
                    _ => return None,
                })
            }

            /// Size of one element. Not always whole bytes.
            pub fn size_bits(self) -> u64 {
                match self { $(StoredDtype::$variant => $bits,)* }
            }

            /// The dtype with this name in a safetensors header.
            pub fn from_name(name: &str) -> Option<StoredDtype> {
                match name { $($name => Some(StoredDtype::$variant),)* _ => None }
            }
        }
    };
}

stored_dtypes! {
    Bool "BOOL" 8 "Truth value, one byte.",
    F4 "F4" 4 "Four-bit float of the OCP microscaling formats.",
    F6E2M3 "F6_E2M3" 6 "Six-bit float, 2 bits of exponent.",
    F6E3M2 "F6_E3M2" 6 "Six-bit float, 3 bits of exponent.",
    U8 "U8" 8 "Unsigned byte.",
    I8 "I8" 8 "Signed byte.",
    F8E5M2 "F8_E5M2" 8 "Eight-bit float, 5 bits of exponent.",
    F8E4M3 "F8_E4M3" 8 "Eight-bit float, 4 bits of exponent.",
    F8E8M0 "F8_E8M0" 8 "Eight-bit power of two.",
    F8E4M3Fnuz "F8_E4M3FNUZ" 8 "Eight-bit float, 4 bits of exponent, no negative zero.",
    F8E5M2Fnuz "F8_E5M2FNUZ" 8 "Eight-bit float, 5 bits of exponent, no negative zero.",
    I16 "I16" 16 "Signed 16-bit integer.",
    U16 "U16" 16 "Unsigned 16-bit integer.",
    F16 "F16" 16 "IEEE 754 half precision.",
    Bf16 "BF16" 16 "The upper half of an f32.",
    I32 "I32" 32 "Signed 32-bit integer.",
    U32 "U32" 32 "Unsigned 32-bit integer.",
    F32 "F32" 32 "IEEE 754 single precision.",
    C64 "C64" 64 "Complex number of two f32.",
    F64 "F64" 64 "IEEE 754 double precision.",
    I64 "I64" 64 "Signed 64-bit integer.",
    U64 "U64" 64 "Unsigned 64-bit integer.",
}

impl StoredDtype {
    /// The dtype as packs know it, if packs can edit such a tensor.
    pub fn editable(self) -> Option<Dtype> {
        match self {
            StoredDtype::F32 => Some(Dtype::F32),
            StoredDtype::F16 => Some(Dtype::F16),
            StoredDtype::Bf16 => Some(Dtype::BF16),
            _ => None,
        }
    }

    /// Where an element may start: its size in whole bytes, at least one.
    pub fn alignment_bytes(self) -> u64 {
        self.size_bits().div_ceil(8).next_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_reference_reader_on_every_name_and_size() {
        for &dtype in StoredDtype::ALL {
            let name = dtype.name();
            let theirs: safetensors::Dtype = serde_json::from_value(name.into()).unwrap();
            assert_eq!(dtype.size_bits(), theirs.bitsize() as u64, "{name}");
            assert_eq!(StoredDtype::from_name(name), Some(dtype));
        }
        assert_eq!(StoredDtype::from_name("f32"), None);
    }
}
