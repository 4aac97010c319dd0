//! JSON as it stands beside the vectors: readable by a person, and arrays of numbers on one line.

use serde_json::Value;

/// The value as text, with a line feed at the end.
pub(super) fn of(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text.push('\n');
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let fields = fields.iter().map(|(key, field)| (Some(key), field));
            write_lines('{', fields, '}', depth, text);
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            write_lines('[', items.iter().map(|item| (None, item)), ']', depth, text);
        }
        // Numbers, texts, and arrays of them.
        flat => text.push_str(&flat.to_string()),
    }
}

fn write_lines<'a>(
    open: char,
    items: impl Iterator<Item = (Option<&'a String>, &'a Value)>,
    close: char,
    depth: usize,
    text: &mut String,
) {
    let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
    text.push(open);
    for (place, (key, item)) in items.enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&line(depth + 1));
        if let Some(key) = key {
            text.push_str(&format!("{}: ", Value::from(key.as_str())));
        }
        write(item, depth + 1, text);
    }
    text.push_str(&line(depth));
    text.push(close);
}
