//! Typed values of columns. A value of a text file, or of the name of a folder, is a string
//! and is read as what its column should be.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

use super::bad_rows::{NULL, Reason, quoted};
use super::time_text;
use crate::model::{ActionId, Timestamp};

pub(super) fn is_id(data_type: &DataType) -> bool {
    data_type.is_integer()
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Whether values may be ids of actions: 16 bytes, or strings that spell them.
pub(super) fn is_action_id(data_type: &DataType) -> bool {
    let is_bytes = matches!(
        data_type,
        DataType::FixedSizeBinary(16)
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    );
    is_bytes || is_text(data_type)
}

pub(super) fn is_number(data_type: &DataType) -> bool {
    is_float(data_type) || data_type.is_integer()
}

fn is_float(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Float16 | DataType::Float32 | DataType::Float64
    )
}

pub(super) fn is_vector(data_type: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
        data_type
    else {
        return false;
    };
    is_float(item.data_type())
}

pub(super) fn is_time(data_type: &DataType) -> bool {
    let is_moment = matches!(data_type, DataType::Timestamp(..) | DataType::Date32);
    is_moment || data_type.is_integer() || is_text(data_type)
}

/// Whether values may be keys of users or pins: strings, or the 16 bytes of a UUID.
pub(super) fn is_key(data_type: &DataType) -> bool {
    is_action_id(data_type)
}

/// The key in `row`, which is not null: a string, or a UUID in lower case.
pub(super) fn key(column: &ArrayRef, row: usize) -> Result<Cow<'_, str>, Reason> {
    if let Some(text) = text(column, row) {
        return Ok(text.into());
    }
    let bytes = bytes(column, row);
    let Some(ActionId(uuid)) = raw_action_id(bytes) else {
        let length = bytes.len();
        let reason = "a UUID has 16, and a string needs a string type";
        return Err(format!("has {length} bytes: {reason}").into());
    };
    let digits = format!("{:032x}", u128::from_be_bytes(uuid));
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    Ok(groups.map(|group| &digits[group]).join("-").into())
}

/// The id in `row`. Null and negative numbers are no ids.
pub(super) fn id(column: &ArrayRef, row: usize) -> Result<u64, Reason> {
    if column.is_null(row) {
        return Err(NULL);
    }
    let number = match text(column, row) {
        None => integer(column, row),
        // Two keys must not become one number.
        Some(text) if text.len() > 1 && text.starts_with(['0', '+']) || text == "-0" => {
            let text = quoted(text);
            return Err(format!(
                "{text} has a leading zero or sign: as a string it needs --text-ids strings"
            )
            .into());
        }
        Some(text) => text
            .parse()
            .map_err(|_| format!("{} is no whole number", quoted(text)))?,
    };
    match number {
        ..0 => Err("is negative".into()),
        _ => u64::try_from(number).map_err(|_| "is above 2^64 - 1".into()),
    }
}

/// The integer in `row` of a column of integers.
pub(super) fn integer(column: &ArrayRef, row: usize) -> i128 {
    macro_rules! value {
        ($kind:ty) => {
            column.as_primitive::<$kind>().value(row).into()
        };
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other integer type")]
    match column.data_type() {
        DataType::Int64 => value!(Int64Type),
        DataType::Int32 => value!(Int32Type),
        DataType::UInt32 => value!(UInt32Type),
        DataType::Int16 => value!(Int16Type),
        DataType::UInt16 => value!(UInt16Type),
        DataType::Int8 => value!(Int8Type),
        DataType::UInt8 => value!(UInt8Type),
        _ => value!(UInt64Type),
    }
}

/// The string in `row`.
pub(super) fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Some(texts.value(row));
    }
    if let Some(texts) = column.as_string_opt::<i64>() {
        return Some(texts.value(row));
    }
    column.as_string_view_opt().map(|texts| texts.value(row))
}

/// The id of an action in `row`; none where the file says null. It is 16 bytes, or a
/// string of 32 hexadecimal digits, with or without the hyphens of a UUID.
pub(super) fn action_id(column: &ArrayRef, row: usize) -> Result<Option<ActionId>, Reason> {
    if column.is_null(row) {
        return Ok(None);
    }
    let id = match text(column, row) {
        Some(text) => raw_action_id(text.as_bytes()).or_else(|| spelled_action_id(text)),
        None => raw_action_id(bytes(column, row)),
    };
    id.map(Some).ok_or("is neither 16 bytes nor a UUID".into())
}

fn raw_action_id(bytes: &[u8]) -> Option<ActionId> {
    bytes.try_into().ok().map(ActionId)
}

fn spelled_action_id(text: &str) -> Option<ActionId> {
    let digits = text.replace('-', "");
    let is_spelled = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(&digits, 16).ok();
    id.filter(|_| is_spelled)
        .map(|id| ActionId(id.to_be_bytes()))
}

/// The bytes in `row`, which is not null.
fn bytes(column: &ArrayRef, row: usize) -> &[u8] {
    if let Some(bytes) = column.as_binary_opt::<i32>() {
        return bytes.value(row);
    }
    if let Some(bytes) = column.as_binary_opt::<i64>() {
        return bytes.value(row);
    }
    match column.as_binary_view_opt() {
        Some(bytes) => bytes.value(row),
        None => column.as_fixed_size_binary().value(row),
    }
}

/// Whether `row` holds what `value` spells.
pub(super) fn says(column: &ArrayRef, row: usize, value: Option<&str>) -> bool {
    let Some(value) = value.filter(|_| column.is_valid(row)) else {
        return value.is_none() && column.is_null(row);
    };
    let data_type = column.data_type();
    if is_text(data_type) {
        text(column, row) == Some(value)
    } else if data_type.is_integer() {
        value.parse() == Ok(integer(column, row))
    } else if is_time(data_type) {
        time_text::parse(value) == time(column, row)
    } else {
        false
    }
}

/// The number in `row`.
pub(super) fn number(column: &ArrayRef, row: usize) -> Result<Option<f64>, Reason> {
    if column.is_null(row) {
        return Ok(None);
    }
    let number = number_or_nan(column, row)?;
    if number.is_nan() {
        return Err("is not a number".into());
    }
    Ok(Some(number))
}

/// The number in `row`, which is not null; NaN where it is that.
pub(super) fn number_or_nan(column: &ArrayRef, row: usize) -> Result<f64, Reason> {
    let number = if let Some(text) = text(column, row) {
        let refused = |_| format!("{} is no number", quoted(text));
        text.parse().map_err(refused)?
    } else if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        floats.value(row)
    } else if let Some(floats) = column.as_primitive_opt::<Float32Type>() {
        f64::from(floats.value(row))
    } else if let Some(floats) = column.as_primitive_opt::<Float16Type>() {
        f64::from(floats.value(row))
    } else {
        integer(column, row) as f64
    };
    Ok(number)
}

/// The items of the list in `row`, which is not null.
pub(super) fn items(column: &ArrayRef, row: usize) -> ArrayRef {
    if let Some(lists) = column.as_list_opt::<i32>() {
        lists.value(row)
    } else if let Some(lists) = column.as_list_opt::<i64>() {
        lists.value(row)
    } else {
        column.as_fixed_size_list().value(row)
    }
}

/// Replaces `out` by the vector in `row`.
pub(super) fn vector(column: &ArrayRef, row: usize, out: &mut Vec<f32>) -> Result<(), Reason> {
    out.clear();
    if column.is_null(row) {
        return Err(NULL);
    }
    let items = items(column, row);
    if items.null_count() > 0 {
        return Err("has a null component".into());
    }
    if let Some(floats) = items.as_primitive_opt::<Float32Type>() {
        out.extend_from_slice(floats.values());
    } else if let Some(floats) = items.as_primitive_opt::<Float64Type>() {
        // What is too large for a component becomes infinite, and is refused as that.
        out.extend(floats.values().iter().map(|&float| float as f32));
    } else {
        let floats = items.as_primitive::<Float16Type>();
        out.extend(floats.values().iter().map(|&float| f32::from(float)));
    }
    Ok(())
}

/// The time in `row`: a timestamp of any unit, a date, seconds since 1970, or a text.
pub(super) fn time(column: &ArrayRef, row: usize) -> Result<Timestamp, Reason> {
    if column.is_null(row) {
        return Err(NULL);
    }
    if let Some(text) = text(column, row) {
        return time_text::parse(text);
    }
    let time = if let DataType::Timestamp(unit, _) = column.data_type() {
        timestamp(column, row, *unit)
    } else if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        Timestamp::from_seconds(i64::from(days.value(row)) * 86_400)
    } else {
        return time_text::from_seconds(integer(column, row));
    };
    time.ok_or(time_text::OUT_OF_RANGE)
}

fn timestamp(column: &ArrayRef, row: usize, unit: TimeUnit) -> Option<Timestamp> {
    match unit {
        TimeUnit::Second => {
            Timestamp::from_seconds(column.as_primitive::<TimestampSecondType>().value(row))
        }
        TimeUnit::Millisecond => {
            let millis = column.as_primitive::<TimestampMillisecondType>().value(row);
            millis.checked_mul(1_000).map(Timestamp::from_micros)
        }
        TimeUnit::Microsecond => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            Some(Timestamp::from_micros(micros))
        }
        TimeUnit::Nanosecond => {
            let nanos = column.as_primitive::<TimestampNanosecondType>().value(row);
            Some(Timestamp::from_micros(nanos.div_euclid(1_000)))
        }
    }
}

/// The bits of the integer in `row`, whatever its sign.
pub(super) fn bits(column: &ArrayRef, row: usize) -> Result<Option<u64>, Reason> {
    if column.is_null(row) {
        return Ok(None);
    }
    let number = match text(column, row) {
        None => integer(column, row),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{} is no whole number", quoted(text)))?,
    };
    let signed = i64::try_from(number).map(i64::cast_unsigned);
    let bits = signed.or_else(|_| u64::try_from(number));
    bits.map(Some).map_err(|_| "has more than 64 bits".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BinaryViewArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
        Float64Array, Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray, ListArray,
        StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };

    use super::*;

    #[test]
    fn ids_are_of_both_signs_and_never_negative_or_null() {
        let signed: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(-1), None]));
        assert_eq!(id(&signed, 0), Ok(7));
        assert_eq!(id(&signed, 1), Err("is negative".into()));
        assert_eq!(id(&signed, 2), Err("is null".into()));
        assert_eq!(bits(&signed, 1), Ok(Some(u64::MAX)));
        assert_eq!(bits(&signed, 2), Ok(None));
        let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert_eq!(id(&unsigned, 0), Ok(u64::MAX));
        assert_eq!(bits(&unsigned, 0), Ok(Some(u64::MAX)));
    }

    #[test]
    fn times_of_every_unit_are_the_same_moment() {
        let columns: [ArrayRef; 5] = [
            Arc::new(Int64Array::from(vec![3])),
            Arc::new(TimestampSecondArray::from(vec![3])),
            Arc::new(TimestampMillisecondArray::from(vec![3_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![3_000_000])),
            Arc::new(TimestampNanosecondArray::from(vec![3_000_000_999])),
        ];
        for column in &columns {
            assert!(is_time(column.data_type()));
            assert_eq!(time(column, 0), Ok(Timestamp::from_micros(3_000_000)));
        }
        let too_late: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX]));
        assert_eq!(time(&too_late, 0), Err("is out of range".into()));
    }

    #[test]
    fn strings_and_floats_of_every_width_are_read() {
        let strings: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("tea"), None])),
            Arc::new(LargeStringArray::from(vec![Some("tea"), None])),
            Arc::new(StringViewArray::from(vec![Some("tea"), None])),
        ];
        for column in &strings {
            assert!(is_text(column.data_type()));
            assert_eq!((text(column, 0), text(column, 1)), (Some("tea"), None));
        }
        let floats: [ArrayRef; 2] = [
            Arc::new(Float32Array::from(vec![Some(0.5), None])),
            Arc::new(Float64Array::from(vec![Some(0.5), None])),
        ];
        for column in &floats {
            assert!(is_number(column.data_type()));
            assert_eq!(number(column, 0), Ok(Some(0.5)));
            assert_eq!(number(column, 1), Ok(None));
        }
    }

    #[test]
    fn ids_of_actions_are_16_bytes_or_spelled() {
        let expected = Ok(Some(ActionId(*b"0123456789abcdef")));
        let raw = || Some(&b"0123456789abcdef"[..]);
        let columns: [ArrayRef; 6] = [
            Arc::new(BinaryArray::from(vec![raw(), None, Some(b"1")])),
            Arc::new(LargeBinaryArray::from(vec![raw(), None, Some(b"1")])),
            Arc::new(BinaryViewArray::from(vec![raw(), None, Some(b"1")])),
            Arc::new(StringArray::from(vec![
                Some("0123456789abcdef"),
                None,
                Some("1"),
            ])),
            Arc::new(StringArray::from(vec![
                Some("30313233343536373839616263646566"),
                None,
                Some("+0313233343536373839616263646566"),
            ])),
            Arc::new(StringArray::from(vec![
                Some("30313233-3435-3637-3839-616263646566"),
                None,
                Some("evt-1"),
            ])),
        ];
        for column in &columns {
            assert!(is_action_id(column.data_type()));
            assert_eq!(action_id(column, 0), expected);
            assert_eq!(action_id(column, 1), Ok(None));
            let error = action_id(column, 2).expect_err("no id");
            assert_eq!(error, "is neither 16 bytes nor a UUID");
        }
        let fixed: ArrayRef = Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size([raw(), None].into_iter(), 16)
                .expect("an array"),
        );
        assert!(is_action_id(fixed.data_type()));
        assert_eq!(action_id(&fixed, 0), expected);
        assert_eq!(action_id(&fixed, 1), Ok(None));
    }

    #[test]
    fn vectors_of_every_list_type_are_read() {
        let rows = || vec![Some(vec![Some(1.0), Some(2.0)]), None];
        let columns: [ArrayRef; 3] = [
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows())),
            Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>(
                rows(),
            )),
            Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows(), 2)),
        ];
        let mut found = vec![9.0];
        for column in &columns {
            assert!(is_vector(column.data_type()));
            assert_eq!(vector(column, 0, &mut found), Ok(()));
            assert_eq!(found, [1.0, 2.0]);
            assert_eq!(vector(column, 1, &mut found), Err("is null".into()));
        }
        let with_null = vec![Some(vec![Some(1.0), None])];
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
            with_null,
        ));
        assert_eq!(
            vector(&column, 0, &mut found),
            Err("has a null component".into())
        );
    }
}
