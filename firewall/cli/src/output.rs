//! Printing: data to standard output, complaints to standard error, colours only on a terminal.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::commands::Error;
use ringfence_report::Table;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// JSON as asked, else what `text` makes of it.
    pub(crate) fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) {
        if self.json {
            let pretty = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
            print(&format!("{pretty}\n"));
        } else {
            print(&text(value));
        }
    }
}

pub(crate) fn render(table: &Table) -> String {
    table.render(coloured())
}

/// Colours only on a terminal.
pub(crate) fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A closed pipe (`rfctl … | head`) is no error.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

pub(crate) fn complain(error: &Error) {
    let _ = writeln!(std::io::stderr().lock(), "rfctl: {error}");
}

/// A field as text: absent and null are a dash.
pub(crate) fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::from("-"),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => String::from(if *yes { "yes" } else { "no" }),
        Some(other) => other.to_string(),
    }
}

pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
