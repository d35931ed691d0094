//! Attributes and filters of messages, checked and in the types of the model.

use std::collections::BTreeSet;

use crate::index::AttributeFacts;
use crate::model::{
    AttributeDefinition, AttributeValue, Condition, Filter, MAX_ATTRIBUTE_BYTES, MAX_WORD,
    PinAttributes, Range, Test,
};
use crate::serve::request_limits::{CONDITION_WORDS, CONDITIONS};
use crate::serve::status::CallError;
use crate::wire::{attributes, v1};

/// The filter of a request; none where it selects all pins.
pub(super) fn filter(message: Option<v1::Filter>) -> Result<Option<Filter>, CallError> {
    let Some(v1::Filter { must, must_not }) = message else {
        return Ok(None);
    };
    CONDITIONS.check("filter", must.len() + must_not.len())?;
    let filter = Filter {
        must: conditions(must, "filter.must")?,
        must_not: conditions(must_not, "filter.must_not")?,
    };
    Ok(Some(filter).filter(|filter| !filter.is_empty()))
}

fn conditions(messages: Vec<v1::Condition>, list: &str) -> Result<Vec<Condition>, CallError> {
    let messages = messages.into_iter().enumerate();
    let checked = messages.map(|(at, message)| condition(message, &format!("{list}[{at}]")));
    checked.collect()
}

/// The condition of a message, which stands at `path` in the request.
pub(super) fn condition(message: v1::Condition, path: &str) -> Result<Condition, CallError> {
    use v1::condition::Test as Message;
    let v1::Condition { attribute, test } = message;
    let field = |part: &str| format!("{path}{part}");
    let test = match test {
        Some(Message::AnyOf(v1::Words { values })) => {
            CONDITION_WORDS.check_not_empty(&field(".any_of.values"), values.len())?;
            let too_long = values.iter().position(|word| word.len() > MAX_WORD);
            if let Some(word) = too_long {
                let reason = format!("has more than {MAX_WORD} bytes, which no word has");
                let word = field(&format!(".any_of.values[{word}]"));
                return Err(CallError::field(word, reason));
            }
            // Equal filters are evaluated once, in whatever order their words come.
            Test::any_of(values)
        }
        Some(Message::Range(v1::Range { gte, gt, lte, lt })) => {
            Test::Range(Range { gte, gt, lte, lt })
        }
        Some(Message::Is(is)) => Test::Is(is),
        Some(Message::Exists(exists)) => Test::Exists(exists),
        None => {
            let reason = "has no test: one of any_of, range, is, exists";
            return Err(CallError::field(field(""), reason));
        }
    };
    Ok(Condition { attribute, test })
}

/// Refuses a filter that does not fit the attributes of the catalog.
pub(super) fn check_filter(
    filter: &Filter,
    definitions: &[AttributeDefinition],
) -> Result<(), CallError> {
    let checked = filter.check(definitions);
    checked.map_err(|invalid| CallError::field(format!("filter.{}", invalid.field), invalid.reason))
}

/// The attributes of an upserted pin, whose fields have a `path` each. They must be among
/// `definitions`, each once and of its type.
pub(super) fn from_messages(
    messages: Vec<v1::Attribute>,
    definitions: &[AttributeDefinition],
    path: impl Fn(&str) -> String,
) -> Result<PinAttributes, CallError> {
    let mut names = BTreeSet::new();
    let mut checked = Vec::with_capacity(messages.len());
    for (at, v1::Attribute { name, value }) in messages.into_iter().enumerate() {
        let field = |part: &str| path(&format!("attributes[{at}]{part}"));
        let Some(definition) = definitions.iter().find(|one| one.name == name) else {
            let reason = format!("{name:?} is no attribute of the catalog");
            return Err(CallError::field(field(".name"), reason));
        };
        if !names.insert(name.clone()) {
            return Err(CallError::field(
                field(".name"),
                format!("is {name:?} once more"),
            ));
        }
        let value = value.map(attributes::value_of);
        let value = value.ok_or_else(|| CallError::field(field(""), "has no value"))?;
        let refused = |reason: String| CallError::field(field(""), format!("{name:?} {reason}"));
        let valid = definition.kind.check(&value);
        valid.map_err(|invalid| refused(invalid.to_string()))?;
        // Without words a pin lacks the attribute.
        if value != AttributeValue::Words(Vec::new()) {
            checked.push((name, value));
        }
    }
    let attributes = PinAttributes::new(checked);
    if attributes.bytes() > MAX_ATTRIBUTE_BYTES {
        let found = attributes.bytes();
        let reason = format!("have {found} bytes, at most {MAX_ATTRIBUTE_BYTES} may be");
        return Err(CallError::field(path("attributes"), reason));
    }
    Ok(attributes)
}

/// An attribute of a catalog as a message.
pub(super) fn info(facts: &AttributeFacts) -> v1::AttributeInfo {
    v1::AttributeInfo {
        name: facts.name.clone(),
        r#type: attributes::message_of_kind(facts.kind).into(),
        pins: facts.pins as u64,
        words: facts.words as u64,
    }
}
