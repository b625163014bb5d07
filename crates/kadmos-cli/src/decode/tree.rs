//! An ordered tree of facts, shown as indented text or as JSON.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
    /// Things in order.
    List(Vec<Tree>),
    /// Named things in order.
    Map(Vec<(&'static str, Tree)>),
}

impl Tree {
    /// Text.
    pub(crate) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// Writes the tree with `indent` tabs before each line.
    pub(crate) fn write(&self, to: &mut dyn Write, indent: usize) -> io::Result<()> {
        match self {
            Self::Map(entries) => entries.iter().try_for_each(|(name, value)| {
                write!(to, "{:indent$}{}", "", name.replace('_', " "))?;
                value.write_after_name(to, indent)
            }),
            Self::List(items) => items.iter().try_for_each(|item| item.write(to, indent)),
            scalar => writeln!(to, "{:indent$}{}", "", scalar.scalar()),
        }
    }

    fn write_after_name(&self, to: &mut dyn Write, indent: usize) -> io::Result<()> {
        match self {
            Self::Map(entries) if entries.is_empty() => writeln!(to, ": none"),
            Self::List(items) if items.is_empty() => writeln!(to, ": none"),
            Self::Map(_) | Self::List(_) => {
                writeln!(to, ":")?;
                self.write(to, indent + 2)
            }
            scalar => writeln!(to, ": {}", scalar.scalar()),
        }
    }

    /// The text of a leaf. What others sent cannot drive the reader's terminal.
    fn scalar(&self) -> String {
        match self {
            Self::Bool(true) => "yes".into(),
            Self::Bool(false) => "no".into(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => {
                text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
            }
            Self::List(_) | Self::Map(_) => String::new(),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_keep_the_order() {
        let tree = Tree::Map(vec![
            ("kind", Tree::text("x")),
            ("deep_list", Tree::List(vec![Tree::Number(1), Tree::Map(vec![("ok", Tree::Bool(true))])])),
            ("empty", Tree::List(Vec::new())),
            ("bad", Tree::text("\x1b[2J")),
        ]);
        let mut text = Vec::new();
        tree.write(&mut text, 0).unwrap();
        let expected = "kind: x\ndeep list:\n  1\n  ok: yes\nempty: none\nbad: \u{fffd}[2J\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let json = r#"{"kind":"x","deep_list":[1,{"ok":true}],"empty":[],"bad":"\u001b[2J"}"#;
        assert_eq!(serde_json::to_string(&tree).unwrap(), json);
    }
}
