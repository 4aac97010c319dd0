//! The stack machine that a pickle is a program for, without anything to call.
//!
//! Opcodes and their meaning are those of CPython's `pickletools`. A pickle names Python functions and asks for them to be
//! called; here a name that is not in [`ALLOWED`] ends the reading, and what is allowed is no function but a rule how a value
//! is made of its arguments (a tensor of a storage, an offset, a shape and strides).

use std::collections::HashMap;

use taskvec_bundle::StoredDtype;
use taskvec_dataset::{Error, Result};

use super::pickle::{Global, Pickle, Span, Storage, Value, View};
use crate::limits::Limits;
use crate::source::damaged;

/// The globals that state dicts need, and what each stands for. Storages are the types of their elements.
const ALLOWED: [(&str, &str, Global); 16] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch", "Size", Global::Size),
    ("torch._utils", "_rebuild_tensor", Global::Tensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::Tensor),
    ("torch._utils", "_rebuild_parameter", Global::Parameter),
    ("torch", "FloatStorage", Global::Storage(StoredDtype::F32)),
    ("torch", "HalfStorage", Global::Storage(StoredDtype::F16)),
    ("torch", "BFloat16Storage", Global::Storage(StoredDtype::Bf16)),
    ("torch", "DoubleStorage", Global::Storage(StoredDtype::F64)),
    ("torch", "LongStorage", Global::Storage(StoredDtype::I64)),
    ("torch", "IntStorage", Global::Storage(StoredDtype::I32)),
    ("torch", "ShortStorage", Global::Storage(StoredDtype::I16)),
    ("torch", "CharStorage", Global::Storage(StoredDtype::I8)),
    ("torch", "ByteStorage", Global::Storage(StoredDtype::U8)),
    ("torch", "BoolStorage", Global::Storage(StoredDtype::Bool)),
    ("torch", "ComplexFloatStorage", Global::Storage(StoredDtype::C64)),
];

/// Names of globals that are repeated in a message: no longer than this.
const SHOWN_CHARS_MAX: usize = 80;

/// A pickle that is being read.
pub(super) struct Machine<'a> {
    pickle: Pickle<'a>,
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Values made so far: each takes memory once, wherever it goes.
    made: usize,
    values_max: usize,
}

impl<'a> Machine<'a> {
    /// One that will read the bytes of this pickle, which holds no values yet.
    pub(super) fn new(pickle: Pickle<'a>, limits: &Limits) -> Result<Machine<'a>> {
        // Positions are kept in 32 bits.
        if u32::try_from(pickle.bytes.len()).is_err() {
            return Err(Error::limit(format!("its pickle has {} bytes, which are too many", pickle.bytes.len())));
        }
        let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Machine { pickle, at: 0, stack, marks, memo, made: 0, values_max: limits.pickle_values_max })
    }

    /// A state machine: one line for each opcode that `pickle` writes for plain data, up to protocol 5.
    pub(super) fn run(mut self) -> Result<Pickle<'a>> {
        loop {
            let opcode = self.number::<1>()? as u8;
            match opcode {
                b'.' => {
                    // STOP
                    self.pickle.root = self.pop()?;
                    self.pickle.end = self.at;
                    return Ok(self.pickle);
                }
                0x80 => drop(self.number::<1>()?),         // PROTO
                0x95 => drop(self.number::<8>()?),         // FRAME
                b'(' => self.marks.push(self.stack.len()), // MARK
                b'0' => drop(self.pop()?),                 // POP
                b'1' => drop(self.popped_to_mark()?),      // POP_MARK
                b'2' => {
                    // DUP
                    let top = self.top()?;
                    self.push(top)?;
                }
                b'N' => self.push(Value::None)?,         // NONE
                0x88 | 0x89 => self.push(Value::Other)?, // NEWTRUE, NEWFALSE
                b'K' => self.push_integer::<1>()?,       // BININT1
                b'M' => self.push_integer::<2>()?,       // BININT2
                b'J' => {
                    // BININT
                    let number = self.number::<4>()? as u32;
                    self.push(Value::Integer(i64::from(number.cast_signed())))?;
                }
                0x8a => self.long()?, // LONG1
                b'G' => {
                    // BINFLOAT
                    self.number::<8>()?;
                    self.push(Value::Other)?;
                }
                b'X' => self.push_text::<4>()?,      // BINUNICODE
                0x8c => self.push_text::<1>()?,      // SHORT_BINUNICODE
                0x8d => self.push_text::<8>()?,      // BINUNICODE8
                b'U' => self.push_text::<1>()?,      // SHORT_BINSTRING
                b'T' => self.push_text::<4>()?,      // BINSTRING
                b'C' => self.skip_bytes::<1>()?,     // SHORT_BINBYTES
                b'B' => self.skip_bytes::<4>()?,     // BINBYTES
                0x8e => self.skip_bytes::<8>()?,     // BINBYTES8
                b']' => self.push_list(Vec::new())?, // EMPTY_LIST
                b'}' => self.push_dict(Vec::new())?, // EMPTY_DICT
                0x8f => self.push(Value::Other)?,    // EMPTY_SET
                b')' => self.push_tuple(0)?,         // EMPTY_TUPLE
                0x85 => self.push_tuple(1)?,         // TUPLE1
                0x86 => self.push_tuple(2)?,         // TUPLE2
                0x87 => self.push_tuple(3)?,         // TUPLE3
                b't' => {
                    // TUPLE
                    let count = self.stack.len() - self.pop_mark()?;
                    self.push_tuple(count)?;
                }
                b'a' => {
                    // APPEND
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    // APPENDS
                    let items = self.popped_to_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    // SETITEM
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(vec![key, value])?;
                }
                b'u' => {
                    // SETITEMS
                    let items = self.popped_to_mark()?;
                    self.set(items)?;
                }
                b'q' => self.put::<1>()?, // BINPUT
                b'r' => self.put::<4>()?, // LONG_BINPUT
                0x94 => {
                    // MEMOIZE
                    let top = self.top()?;
                    let index = self.memo.len() as u32;
                    self.memo.insert(index, top);
                }
                b'h' => self.get::<1>()?, // BINGET
                b'j' => self.get::<4>()?, // LONG_BINGET
                b'c' => {
                    // GLOBAL
                    let (module, name) = (self.line()?, self.line()?);
                    self.push_global(module, name)?;
                }
                0x93 => {
                    // STACK_GLOBAL
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(name), Value::Text(module)) = (name, module) else {
                        return Err(self.fault("a global is named by something that is no text"));
                    };
                    self.push_global(self.pickle.text(module), self.pickle.text(name))?;
                }
                b'Q' => self.push_storage()?, // BINPERSID
                b'R' => self.reduce()?,       // REDUCE
                // State of an object: of the dicts and tensors that there are here, attributes that say nothing of numbers.
                b'b' => {
                    // BUILD
                    self.pop()?;
                    if !matches!(self.top()?, Value::Dict(_) | Value::Tensor(_)) {
                        return Err(self.fault("a state is given to something that is neither a dict nor a tensor"));
                    }
                }
                _ => return Err(self.refused_opcode(opcode)),
            }
        }
    }

    fn fault(&self, clause: &str) -> Error {
        damaged(format!("its pickle at byte {}: {clause}", self.at))
    }

    fn refused_opcode(&self, opcode: u8) -> Error {
        Error::unsupported(format!(
            "its pickle at byte {}: opcode {opcode:#04x}, which no state dict needs",
            self.at - 1
        ))
        .with_help("nothing was run; save it again as `torch.save(model.state_dict(), FILE)` or as safetensors")
    }

    fn take(&mut self, count: u64) -> Result<Span> {
        let left = (self.pickle.bytes.len() - self.at) as u64;
        if count > left {
            return Err(self.fault(&format!("{count} bytes are claimed, {left} are left")));
        }
        // Both are at most the length, which was checked to fit.
        let span = Span { start: self.at as u32, count: count as u32 };
        self.at += count as usize;
        Ok(span)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<u64> {
        let span = self.take(BYTES as u64)?;
        let bytes = &self.pickle.bytes[span.start as usize..self.at];
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The rest of a line of text.
    fn line(&mut self) -> Result<&'a str> {
        let bytes = self.pickle.bytes;
        let rest = &bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.fault("a line does not end"))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| self.fault("a name is no UTF-8"))
    }

    /// Counts values before they are made.
    fn charge(&mut self, count: usize) -> Result<()> {
        self.made = self.made.saturating_add(count);
        if self.made > self.values_max {
            return Err(Error::limit(format!("its pickle makes more than {} values", self.values_max))
                .with_help("save the state dict alone: `torch.save(model.state_dict(), FILE)`"));
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.charge(1)?;
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        // What lies under a mark is not to be had.
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = if self.stack.len() > floor { self.stack.pop() } else { None };
        top.ok_or_else(|| self.fault("nothing is on the stack"))
    }

    fn top(&mut self) -> Result<Value> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<usize> {
        self.marks.pop().ok_or_else(|| self.fault("no mark is on the stack"))
    }

    fn popped_to_mark(&mut self) -> Result<Vec<Value>> {
        let height = self.pop_mark()?;
        Ok(self.stack.split_off(height))
    }

    fn push_integer<const BYTES: usize>(&mut self) -> Result<()> {
        let number = self.number::<BYTES>()?;
        self.push(Value::Integer(number.cast_signed()))
    }

    /// An integer of any length: of more than eight bytes it is nothing that is needed here.
    fn long(&mut self) -> Result<()> {
        let count = self.number::<1>()?;
        let span = self.take(count)?;
        let bytes = &self.pickle.bytes[span.start as usize..self.at];
        let is_negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
        let fill = if is_negative { -1 } else { 0 };
        let number = bytes.iter().rev().fold(fill, |number, &byte| number << 8 | i64::from(byte));
        self.push(if bytes.len() <= 8 { Value::Integer(number) } else { Value::Other })
    }

    fn push_text<const LENGTH_BYTES: usize>(&mut self) -> Result<()> {
        let count = self.number::<LENGTH_BYTES>()?;
        let span = self.take(count)?;
        let is_text = std::str::from_utf8(&self.pickle.bytes[span.start as usize..self.at]).is_ok();
        self.push(if is_text { Value::Text(span) } else { Value::Other })
    }

    fn skip_bytes<const LENGTH_BYTES: usize>(&mut self) -> Result<()> {
        let count = self.number::<LENGTH_BYTES>()?;
        self.take(count)?;
        self.push(Value::Other)
    }

    /// A tuple of the `count` values on top.
    fn push_tuple(&mut self, count: usize) -> Result<()> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let Some(height) = self.stack.len().checked_sub(count).filter(|&height| height >= floor) else {
            return Err(self.fault("a tuple of more than is on the stack"));
        };
        // There are at most as many values as limits and bytes allow, and both fit.
        let span = Span { start: self.pickle.tuples.len() as u32, count: count as u32 };
        self.pickle.tuples.extend(self.stack.drain(height..));
        self.push(Value::Tuple(span))
    }

    fn push_list(&mut self, items: Vec<Value>) -> Result<()> {
        self.pickle.lists.push(items);
        self.push(Value::List(self.pickle.lists.len() as u32 - 1))
    }

    fn push_dict(&mut self, items: Vec<Value>) -> Result<()> {
        self.pickle.dicts.push(items);
        self.push(Value::Dict(self.pickle.dicts.len() as u32 - 1))
    }

    fn append(&mut self, items: Vec<Value>) -> Result<()> {
        match self.top()? {
            Value::List(index) => self.pickle.lists[index as usize].extend(items),
            // Of a set, say.
            Value::Other => {}
            _ => return Err(self.fault("items are appended to something that is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Value>) -> Result<()> {
        match self.top()? {
            Value::Dict(index) if items.len().is_multiple_of(2) => self.pickle.dicts[index as usize].extend(items),
            _ => return Err(self.fault("items are set in something that is no dict")),
        }
        Ok(())
    }

    fn put<const BYTES: usize>(&mut self) -> Result<()> {
        let (index, top) = (self.number::<BYTES>()? as u32, self.top()?);
        self.memo.insert(index, top);
        Ok(())
    }

    fn get<const BYTES: usize>(&mut self) -> Result<()> {
        let index = self.number::<BYTES>()? as u32;
        let found = self.memo.get(&index).copied();
        let value = found.ok_or_else(|| self.fault(&format!("nothing was kept as {index}")))?;
        self.push(value)
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<()> {
        let found = ALLOWED.iter().find(|(its_module, its_name, _)| (*its_module, *its_name) == (module, name));
        match found {
            Some((_, _, global)) => self.push(Value::Global(*global)),
            None => {
                let named: String = format!("{module}.{name}").chars().take(SHOWN_CHARS_MAX).collect();
                Err(Error::unsupported(format!("its pickle names `{named}`, which no state dict needs")).with_help(
                    "nothing was run; save it again as `torch.save(model.state_dict(), FILE)` or as safetensors",
                ))
            }
        }
    }

    /// The persistent id of a storage: `("storage", type, key, device, elements)`, in the old form with a view, too.
    fn push_storage(&mut self) -> Result<()> {
        let id = match self.pop()? {
            Value::Tuple(id) => self.pickle.tuple(id),
            _ => &[],
        };
        let storage = match id {
            [
                Value::Text(kind),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                _,
                Value::Integer(count),
                view @ ..,
            ] if self.pickle.text(*kind) == "storage" && matches!(view, [] | [Value::None]) => {
                u64::try_from(*count).ok().map(|element_count| Storage { dtype: *dtype, key: *key, element_count })
            }
            _ => None,
        };
        let storage = storage.ok_or_else(|| self.fault("expected the id of a storage"))?;
        self.pickle.storages.push(storage);
        self.push(Value::Storage(self.pickle.storages.len() as u32 - 1))
    }

    /// What would be a call: a value made of the arguments by the rule that the global stands for.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Value::Tuple(span) = arguments else { return Err(self.fault("arguments are no tuple")) };
        let arguments = self.pickle.tuple(span);
        match (callee, arguments) {
            (Value::Global(Global::OrderedDict), []) => self.push_dict(Vec::new()),
            (Value::Global(Global::OrderedDict), &[Value::List(index)]) => {
                self.charge(2 * self.pickle.list(index).len())?;
                let items = self.pairs(index)?;
                self.push_dict(items)
            }
            (Value::Global(Global::Size), &[sizes @ Value::Tuple(_)]) => self.push(sizes),
            (Value::Global(Global::Parameter), &[tensor @ Value::Tensor(_), ..]) => self.push(tensor),
            (
                Value::Global(Global::Tensor),
                &[Value::Storage(index), offset, Value::Tuple(shape), Value::Tuple(strides), ..],
            ) => {
                self.charge(shape.count as usize + strides.count as usize)?;
                let view = self.rebuilt(index, offset, shape, strides);
                let view = view.ok_or_else(|| self.fault("a tensor with a shape and strides that are none"))?;
                self.pickle.views.push(view);
                self.push(Value::Tensor(self.pickle.views.len() as u32 - 1))
            }
            _ => Err(self.fault("a value is made of arguments that do not fit it")),
        }
    }

    fn rebuilt(&self, storage: u32, offset: Value, shape: Span, strides: Span) -> Option<View> {
        let count = |value: &Value| match value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let counts = |span| self.pickle.tuple(span).iter().map(count).collect::<Option<Vec<u64>>>();
        let (shape, strides) = (counts(shape)?, counts(strides)?);
        let storage = self.pickle.storages[storage as usize].clone();
        (shape.len() == strides.len()).then_some(View { storage, offset: count(&offset)?, shape, strides })
    }

    /// The items of a dict that is given as a list of pairs, as Python 2 wrote it.
    fn pairs(&self, list: u32) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        for pair in self.pickle.list(list) {
            let pair = match pair {
                Value::Tuple(span) => self.pickle.tuple(*span),
                Value::List(index) => self.pickle.list(*index),
                _ => &[],
            };
            let &[key, value] = pair else { return Err(self.fault("a dict is made of something that is no pairs")) };
            items.extend([key, value]);
        }
        Ok(items)
    }
}
