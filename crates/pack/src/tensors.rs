//! One record for each tensor, and its entries (`FORMAT.md`, 6.1 and 6.2).

use crate::cursor::{Checked, Cursor};
use crate::dtype::Dtype;
use crate::error::ErrorKind;
use crate::header::Section;
use crate::index::{Extent, IndexEncoding, Indices};
use crate::layout::{ELEMENT_COUNT_MAX, Limits, RANK_MAX, TENSOR_RECORD_BYTES_MIN};
use crate::report::{Report, Wrong};
use crate::stream::Stream;
use crate::values::{self, Deltas, Distances, LosslessValues, ValueEncoding, Values};
use crate::width::{length, narrow, wide};

/// One tensor of a pack.
///
/// Having one tells you: its counts agree with each other and with its streams; its indices ascend strictly and lie in the
/// tensor; its numbers are finite.
#[derive(Clone, Copy, Debug)]
pub struct TensorEntry<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: Shape<'a>,
    element_count: u64,
    entry_count: u64,
    index_encoding: IndexEncoding,
    value_encoding: ValueEncoding,
    measured_error: Option<MeasuredError>,
    index: &'a [u8],
    value: &'a [u8],
}

impl<'a> TensorEntry<'a> {
    /// Its name in the base's safetensors file.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Type of its elements in the base.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its dimensions.
    #[must_use]
    pub const fn shape(&self) -> Shape<'a> {
        self.shape
    }

    /// The product of its dimensions; fits `usize`.
    #[must_use]
    pub const fn element_count(&self) -> u64 {
        self.element_count
    }

    /// How many of its elements the pack changes, at least 1.
    #[must_use]
    pub const fn entry_count(&self) -> u64 {
        self.entry_count
    }

    /// How its mask is written down.
    #[must_use]
    pub const fn index_encoding(&self) -> IndexEncoding {
        self.index_encoding
    }

    /// How its deltas are written down.
    #[must_use]
    pub const fn value_encoding(&self) -> ValueEncoding {
        self.value_encoding
    }

    /// The stream that holds its mask.
    #[must_use]
    pub const fn index_bytes(&self) -> &'a [u8] {
        self.index
    }

    /// The stream that holds its deltas.
    #[must_use]
    pub const fn value_bytes(&self) -> &'a [u8] {
        self.value
    }

    /// How far the stored deltas are from those they stand for; none for lossless and f32.
    #[must_use]
    pub const fn measured_error(&self) -> Option<MeasuredError> {
        self.measured_error
    }

    /// Which elements the pack changes.
    #[must_use]
    pub fn indices(&self) -> Indices<'a> {
        Indices::new(self.index_encoding, self.index, self.extent())
    }

    /// Which elements the pack changes, and by how much.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        match self.value_encoding {
            ValueEncoding::Lossless => {
                let report = Report::blank();
                match LosslessValues::new(Stream::again(self.value, &report), self.entry_count, self.dtype) {
                    Ok(values) => Entries::Distances(Distances::new(self.indices(), values, self.entry_count)),
                    // Reading the pack has ruled this out.
                    Err(_) => Entries::Deltas(Deltas::new(self.indices(), Values::new(self.value_encoding, &[], 0), 0)),
                }
            }
            encoding => {
                let values = Values::new(encoding, self.value, self.entry_count);
                Entries::Deltas(Deltas::new(self.indices(), values, self.entry_count))
            }
        }
    }

    const fn extent(&self) -> Extent {
        Extent { elements: narrow(self.element_count), entries: narrow(self.entry_count) }
    }
}

/// The entries of one tensor, by what their numbers are.
#[derive(Clone, Copy, Debug)]
pub enum Entries<'a> {
    /// Differences: fine-tuned minus base.
    Deltas(Deltas<'a>),
    /// Distances between bit patterns (`FORMAT.md`, 6.11).
    Distances(Distances<'a>),
}

/// How far stored deltas are from those they stand for, in units of the delta.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredError {
    /// Largest absolute difference.
    pub max: f32,
    /// Root of the mean square of the differences, at most `max`.
    pub rms: f32,
}

/// The dimensions of a tensor, the outermost first.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    dimensions: Checked<'a>,
    left: u8,
}

impl Iterator for Shape<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        self.dimensions.next(|cursor| cursor.varint())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Shape<'_> {}

/// The tensors of a pack, in byte order of their names.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    records: Checked<'a>,
    entries: Checked<'a>,
    left: u64,
    /// Size of the whole entries section.
    entries_bytes: u64,
}

impl<'a> Tensors<'a> {
    /// Steps 18 and 19 of `FORMAT.md`, 13; if the entries are known, they are counted and not looked at.
    pub(crate) fn read(
        records: Section<'a>,
        entries: Section<'a>,
        limits: &Limits,
        entries_known: bool,
        report: &Report,
    ) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(records.bytes, records.offset, "tensors", report);
        let count = cursor.varint()?;
        if length(count) > cursor.rest().len() / TENSOR_RECORD_BYTES_MIN {
            return Err(cursor.error(ErrorKind::Count, records.offset, cursor.remaining(), count));
        }
        if count > limits.max_tensors {
            return Err(cursor.error(ErrorKind::Limit, records.offset, limits.max_tensors, count));
        }
        let entries_bytes = wide(entries.bytes.len());
        let entries = Cursor::new(entries.bytes, entries.offset, "entries", report);
        let tensors = Self { records: cursor.again(), entries: entries.again(), left: count, entries_bytes };
        // All records are right before any stream is looked at.
        for streams_too in [false, true] {
            let mut reader = Records { records: cursor, entries, last_name: "", entries_before: 0, entries_bytes };
            for _ in 0..count {
                let record = reader.record(limits)?;
                if streams_too && !entries_known {
                    record.check()?;
                }
            }
            if streams_too { reader.entries.finish()? } else { reader.records.finish()? }
        }
        Ok(tensors)
    }
}

impl<'a> Iterator for Tensors<'a> {
    type Item = TensorEntry<'a>;

    fn next(&mut self) -> Option<TensorEntry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let Self { records, entries, entries_bytes, .. } = self;
        records.next(|records| {
            let mut reader = Records {
                records: *records,
                entries: entries.cursor(records.report()),
                last_name: "",
                entries_before: 0,
                entries_bytes: *entries_bytes,
            };
            let entry = reader.record(&Limits::UNLIMITED)?.entry;
            (*records, *entries) = (reader.records, reader.entries.again());
            Ok(entry)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (length(self.left), Some(length(self.left)))
    }
}

impl ExactSizeIterator for Tensors<'_> {}

/// A tensor, and where its streams lie.
struct Record<'a, 'r> {
    entry: TensorEntry<'a>,
    index: Stream<'a, 'r>,
    value: Stream<'a, 'r>,
}

impl Record<'_, '_> {
    fn check(&self) -> Result<(), Wrong> {
        let TensorEntry { index_encoding, value_encoding, entry_count, dtype, .. } = self.entry;
        Indices::check(index_encoding, self.index, self.entry.extent())?;
        values::check(value_encoding, self.value, entry_count, dtype)
    }
}

/// Reads records and cuts the streams that belong to them.
struct Records<'a, 'r> {
    records: Cursor<'a, 'r>,
    entries: Cursor<'a, 'r>,
    last_name: &'a str,
    /// Entries of the tensors that came before.
    entries_before: u64,
    /// Size of the whole entries section.
    entries_bytes: u64,
}

impl<'a, 'r> Records<'a, 'r> {
    /// The next record and its streams. Called again after a check it gives the same, so it is not split in two.
    fn record(&mut self, limits: &Limits) -> Result<Record<'a, 'r>, Wrong> {
        let name = self.name(limits)?;
        let cursor = &mut self.records;
        let dtype = registered(cursor, Dtype::from_code)?;
        let (shape, element_count) = shape(cursor, limits)?;
        let index_encoding = registered(cursor, IndexEncoding::from_code)?;
        let value_encoding = registered(cursor, ValueEncoding::from_code)?;
        let entry_count = self.entry_count(element_count, limits)?;
        let index = self.cut("index stream")?;
        let value = self.cut("value stream")?;
        let measured_error = if value_encoding.is_lossy() { Some(measured_error(&mut self.records)?) } else { None };
        let entry = TensorEntry {
            name,
            dtype,
            shape,
            element_count,
            entry_count,
            index_encoding,
            value_encoding,
            measured_error,
            index: index.bytes,
            value: value.bytes,
        };
        Ok(Record { entry, index, value })
    }

    fn name(&mut self, limits: &Limits) -> Result<&'a str, Wrong> {
        let name = self.records.text(limits.max_string_bytes, false)?;
        // No name is empty, so the first one is above the empty one before it.
        if name <= self.last_name {
            let at = self.records.offset().saturating_sub(name.len());
            return Err(self.records.error(ErrorKind::Order, at, 0, 0));
        }
        self.last_name = name;
        Ok(name)
    }

    fn entry_count(&mut self, element_count: u64, limits: &Limits) -> Result<u64, Wrong> {
        let at = self.records.offset();
        let count = self.records.varint()?;
        // Every value takes at least one bit.
        let most = element_count.min(self.entries_bytes.saturating_mul(8));
        if count == 0 || count > most {
            return Err(self.records.error(ErrorKind::Count, at, most, count));
        }
        self.entries_before = self.entries_before.saturating_add(count);
        if self.entries_before > limits.max_entries {
            return Err(self.records.error(ErrorKind::Limit, at, limits.max_entries, self.entries_before));
        }
        Ok(count)
    }

    /// The size of a stream from the record, and its bytes from the entries section.
    fn cut(&mut self, subject: &'static str) -> Result<Stream<'a, 'r>, Wrong> {
        let at = self.records.offset();
        let count = self.records.varint()?;
        let (room, offset) = (self.entries.remaining(), self.entries.offset());
        match self.entries.take(count) {
            Ok(bytes) => Ok(Stream { bytes, offset, subject, report: self.records.report() }),
            Err(_) => Err(self.records.error(ErrorKind::Count, at, room, count)),
        }
    }
}

/// A number of one byte that must stand in a registry.
fn registered<T>(cursor: &mut Cursor<'_, '_>, from_code: impl FnOnce(u8) -> Option<T>) -> Result<T, Wrong> {
    let at = cursor.offset();
    let code = cursor.u8()?;
    from_code(code).ok_or_else(|| cursor.error(ErrorKind::Encoding, at, 0, u64::from(code)))
}

fn shape<'a>(cursor: &mut Cursor<'a, '_>, limits: &Limits) -> Result<(Shape<'a>, u64), Wrong> {
    let rank_at = cursor.offset();
    let rank = cursor.u8()?;
    if rank > RANK_MAX {
        return Err(cursor.error(ErrorKind::Count, rank_at, u64::from(RANK_MAX), u64::from(rank)));
    }
    let shape = Shape { dimensions: cursor.again(), left: rank };
    let mut elements = 1_u64;
    for _ in 0..rank {
        let at = cursor.offset();
        let dimension = cursor.varint()?;
        let product = elements.checked_mul(dimension).filter(|product| (1..=ELEMENT_COUNT_MAX).contains(product));
        elements = product.ok_or_else(|| cursor.error(ErrorKind::Number, at, ELEMENT_COUNT_MAX, dimension))?;
    }
    if elements > limits.max_elements_per_tensor || usize::try_from(elements).is_err() {
        return Err(cursor.error(ErrorKind::Limit, rank_at, limits.max_elements_per_tensor, elements));
    }
    Ok((shape, elements))
}

fn measured_error(cursor: &mut Cursor<'_, '_>) -> Result<MeasuredError, Wrong> {
    let max = cursor.f32(0.0, f32::MAX)?;
    let rms = cursor.f32(0.0, max)?;
    Ok(MeasuredError { max, rms })
}
