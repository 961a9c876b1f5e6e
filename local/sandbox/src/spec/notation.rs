//! The notation of `parameters.txt`, described at the head of that file.

use super::{Endpoint, Field, Shape};

pub(super) fn read(text: &'static str) -> Vec<Endpoint> {
    let paragraphs = text
        .split("\n\n")
        .filter(|paragraph| !paragraph.starts_with('#'));
    paragraphs
        .filter_map(|paragraph| {
            let (head, fields) = paragraph
                .trim()
                .split_once('\n')
                .unwrap_or((paragraph.trim(), ""));
            let (method, path) = head.split_once(' ')?;
            Some(Endpoint {
                method,
                path,
                fields: Reader { text: fields }.fields()?,
            })
        })
        .collect()
}

pub(super) fn fields(text: &'static str) -> Vec<Field> {
    Reader { text }.fields().unwrap_or_default()
}

/// A reader of the notation that the head of `parameters.txt` describes; `None` is a mistake in that file, which the
/// tests below would show.
struct Reader {
    text: &'static str,
}

impl Reader {
    fn eat(&mut self, sign: char) -> bool {
        self.text = self.text.trim_start();
        let rest = self.text.strip_prefix(sign);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn name(&mut self) -> &'static str {
        self.text = self.text.trim_start();
        let end = self
            .text
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.text.len());
        let (name, rest) = self.text.split_at(end);
        self.text = rest;
        name
    }

    fn fields(&mut self) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            let required = self.eat('*');
            let name = self.name();
            if name.is_empty() {
                return Some(fields);
            }
            if !self.eat(':') {
                return None;
            }
            fields.push(Field {
                name,
                required,
                shape: self.shape()?,
            });
            if !self.eat(',') {
                return Some(fields);
            }
        }
    }

    fn shape(&mut self) -> Option<Shape> {
        let shape = if self.eat('{') {
            let fields = self.fields()?;
            self.eat('}').then_some(Shape::Object(fields))?
        } else if self.eat('[') {
            let inner = self.shape()?;
            self.eat(']').then(|| Shape::List(Box::new(inner)))?
        } else if self.eat('<') {
            let inner = self.shape()?;
            self.eat('>').then(|| Shape::MapOf(Box::new(inner)))?
        } else if self.eat('(') {
            self.words()?
        } else {
            match self.name() {
                "s" | "d" => Shape::Text,
                "i" => Shape::Integer,
                "b" => Shape::Boolean,
                "any" => Shape::Any,
                "map" => Shape::Map,
                "range" => Shape::Range,
                _ => return None,
            }
        };
        Some(if self.eat('?') {
            Shape::Clearable(Box::new(shape))
        } else {
            shape
        })
    }

    fn words(&mut self) -> Option<Shape> {
        let (inside, rest) = self.text.split_once(')')?;
        self.text = rest;
        let (integers, words): (Vec<_>, Vec<_>) = inside
            .split('|')
            .map(str::trim)
            .partition(|word| *word == "i");
        Some(Shape::Words {
            words,
            or_integer: !integers.is_empty(),
        })
    }
}
