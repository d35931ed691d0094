//! Attributes and filters as messages, for both ends.

use super::v1;
use crate::model::{AttributeKind, AttributeValue, Condition, Filter, PinAttributes, Test};

/// The attributes of a pin as messages. A keyword is sent as keywords that are one.
pub(crate) fn messages_of(attributes: &PinAttributes) -> Vec<v1::Attribute> {
    use v1::attribute::Value;
    let messages = attributes.iter().map(|(name, value)| v1::Attribute {
        name: name.to_owned(),
        value: Some(match value {
            AttributeValue::Bool(flag) => Value::Flag(*flag),
            AttributeValue::Number(number) => Value::Number(*number),
            AttributeValue::Words(words) => Value::Keywords(v1::Words {
                values: words.clone(),
            }),
        }),
    });
    messages.collect()
}

/// The value of a message.
pub(crate) fn value_of(value: v1::attribute::Value) -> AttributeValue {
    use v1::attribute::Value;
    match value {
        Value::Keyword(word) => AttributeValue::words(vec![word]),
        Value::Keywords(v1::Words { values }) => AttributeValue::words(values),
        Value::Flag(flag) => AttributeValue::Bool(flag),
        Value::Number(number) => AttributeValue::Number(number),
    }
}

/// The type of an attribute as a message.
pub(crate) fn message_of_kind(kind: AttributeKind) -> v1::AttributeType {
    match kind {
        AttributeKind::Keyword => v1::AttributeType::Keyword,
        AttributeKind::Keywords => v1::AttributeType::Keywords,
        AttributeKind::Bool => v1::AttributeType::Bool,
        AttributeKind::Int => v1::AttributeType::Int,
        AttributeKind::Float => v1::AttributeType::Float,
        AttributeKind::Timestamp => v1::AttributeType::Timestamp,
    }
}

/// The type that a message names; none for one that is not known here.
pub(crate) fn kind_of(message: v1::AttributeType) -> Option<AttributeKind> {
    let mut kinds = AttributeKind::ALL.iter().map(|&(_, kind)| kind);
    kinds.find(|&kind| message_of_kind(kind) == message)
}

/// A filter as a message.
pub(crate) fn message_of_filter(filter: Filter) -> v1::Filter {
    let Filter { must, must_not } = filter;
    let [must, must_not] = [must, must_not].map(|conditions| {
        let conditions = conditions.into_iter();
        conditions.map(message_of_condition).collect()
    });
    v1::Filter { must, must_not }
}

/// A condition as a message.
pub(crate) fn message_of_condition(Condition { attribute, test }: Condition) -> v1::Condition {
    use v1::condition::Test as Message;
    let test = match test {
        Test::AnyOf(values) => Message::AnyOf(v1::Words { values }),
        Test::Range(range) => Message::Range(v1::Range {
            gte: range.gte,
            gt: range.gt,
            lte: range.lte,
            lt: range.lt,
        }),
        Test::Is(is) => Message::Is(is),
        Test::Exists(exists) => Message::Exists(exists),
    };
    v1::Condition {
        attribute,
        test: Some(test),
    }
}
