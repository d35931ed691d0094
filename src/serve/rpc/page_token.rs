//! The token by which a client asks for the next page. It holds all that must be known of the
//! pages before, so that a server keeps nothing:
//!
//! ```text
//! version   1 byte: 1
//! checksum  8 bytes: XXH3 of all that follows
//! request   8 bytes: fingerprint of what stays the same from page to page
//! seed      8 bytes
//! catalog   8 bytes: XXH3 of the name of the version
//! profiles  8 bytes: the same
//! page      number of the page that is asked for, from 1
//! drawn     the medoids that this round has drawn
//! pins      the candidates of all pages before
//! ```
//!
//! Numbers of 8 bytes are little endian, others have 7 bits a byte, the lowest first. A set of
//! pins is their number and, ascending, for each of them how many ids lie between it and the
//! one before.
//!
//! A token is not signed. Whoever forges one chooses a seed and excludes pins and medoids,
//! which a request can do without any token. The checksum is for damage.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::PinId;
use crate::serve::request_limits::SESSION_PINS;

/// First byte of a token.
const VERSION: u8 = 1;
/// Most medoids of a round. With these and the most candidates, a token has less than 64 KiB
/// whatever their ids are: of ids of 64 bits that ascend, few differ by more than 56 bits.
const MAX_DRAWN: usize = 3_000;
/// Bits of a number in one byte of its encoding.
const BITS: u32 = 7;
/// Set in each byte of a number but the last.
const CONTINUES: u8 = 1 << BITS;

/// What is known of the pages before one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageToken {
    /// Of what stays the same from page to page.
    pub(super) request: u64,
    /// The seed of all pages.
    pub(super) seed: u64,
    /// What the page before was answered from.
    pub(super) versions: VersionHashes,
    /// Number of the page that is asked for.
    pub(super) page: u64,
    /// Ascending: the medoids that this round has drawn.
    pub(super) drawn: Vec<PinId>,
    /// Ascending: the candidates of all pages before.
    pub(super) pins: Vec<PinId>,
}

/// The names of two versions, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VersionHashes {
    pub(super) catalog: u64,
    pub(super) profiles: u64,
}

impl PageToken {
    /// The token as a client sees it; none where there is too much to say.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.pins.len() > SESSION_PINS {
            return None;
        }
        let Self {
            request,
            seed,
            versions,
            page,
            ..
        } = *self;
        let mut body = Vec::new();
        for number in [request, seed, versions.catalog, versions.profiles] {
            body.extend(number.to_le_bytes());
        }
        put_number(page, &mut body);
        // A round of more, which no profile has, is left off: another begins.
        let drawn = &self.drawn[..];
        put_pins(if drawn.len() > MAX_DRAWN { &[] } else { drawn }, &mut body);
        put_pins(&self.pins, &mut body);
        let checksum = xxh3_64(&body).to_le_bytes();
        Some([&[VERSION][..], &checksum, &body].concat())
    }

    /// The token of these bytes; none when they are no token.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes.strip_prefix(&[VERSION])?;
        let checksum = take_fixed(rest)?;
        if checksum != xxh3_64(rest) {
            return None;
        }
        let token = Self {
            request: take_fixed(rest)?,
            seed: take_fixed(rest)?,
            versions: VersionHashes {
                catalog: take_fixed(rest)?,
                profiles: take_fixed(rest)?,
            },
            page: take_number(rest)?,
            drawn: take_pins(rest, MAX_DRAWN)?,
            pins: take_pins(rest, SESSION_PINS)?,
        };
        rest.is_empty().then_some(token)
    }
}

fn put_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= u64::from(CONTINUES) {
        bytes.push(number as u8 | CONTINUES);
        number >>= BITS;
    }
    bytes.push(number as u8);
}

fn put_pins(pins: &[PinId], bytes: &mut Vec<u8>) {
    put_number(pins.len() as u64, bytes);
    let mut least = 0;
    for pin in pins {
        put_number(pin.0 - least, bytes);
        // Nothing follows the greatest id.
        least = pin.0.wrapping_add(1);
    }
}

fn take_fixed(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(BITS as usize) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & !CONTINUES);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & CONTINUES == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes a set of at most `max` pins.
fn take_pins(bytes: &mut &[u8], max: usize) -> Option<Vec<PinId>> {
    let count = usize::try_from(take_number(bytes)?).ok()?;
    // A pin takes a byte at least, so the set takes no more memory than the token allows.
    if count > max.min(bytes.len()) {
        return None;
    }
    let mut pins = Vec::with_capacity(count);
    let mut least = Some(0u64);
    for _ in 0..count {
        let pin = least?.checked_add(take_number(bytes)?)?;
        pins.push(PinId(pin));
        least = pin.checked_add(1);
    }
    Some(pins)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::serve::request_limits::PAGE_TOKEN;

    fn token(drawn: &[u64], pins: &[u64]) -> PageToken {
        PageToken {
            request: 1,
            seed: u64::MAX,
            versions: VersionHashes {
                catalog: 3,
                profiles: 4,
            },
            page: 5,
            drawn: drawn.iter().copied().map(PinId).collect(),
            pins: pins.iter().copied().map(PinId).collect(),
        }
    }

    fn with_checksum(body: &[u8]) -> Vec<u8> {
        let checksum = xxh3_64(body).to_le_bytes();
        [&[VERSION][..], &checksum, body].concat()
    }

    /// So many ids below `end`.
    fn ids(count: usize, end: u64, seed: u64) -> Vec<u64> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut ids = BTreeSet::new();
        while ids.len() < count {
            ids.insert(rng.random_range(0..end));
        }
        ids.into_iter().collect()
    }

    fn sets() -> impl Strategy<Value = BTreeSet<u64>> {
        let near_the_end = (0u64..3).prop_map(|i| u64::MAX - i);
        let id = prop_oneof![0u64..300, any::<u64>(), near_the_end];
        prop::collection::btree_set(id, 0..60)
    }

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(
            drawn in sets(), pins in sets(), numbers: [u64; 5],
        ) {
            let [request, seed, catalog, profiles, page] = numbers;
            let drawn: Vec<u64> = drawn.into_iter().collect();
            let pins: Vec<u64> = pins.into_iter().collect();
            let versions = VersionHashes { catalog, profiles };
            let token = PageToken { request, seed, versions, page, ..token(&drawn, &pins) };
            let bytes = token.to_bytes().expect("few pins");
            prop_assert_eq!(PageToken::from_bytes(&bytes), Some(token));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            small in prop::collection::vec(0u8..6, 0..60),
        ) {
            prop_assert_eq!(PageToken::from_bytes(&bytes), None);
            // With a checksum that fits, what is read is what would be written.
            let head = [7; 32];
            for body in [&bytes[..], &[&head[..], &small].concat(), &[&head[..], &bytes].concat()] {
                if let Some(token) = PageToken::from_bytes(&with_checksum(body)) {
                    prop_assert!(token.pins.is_sorted_by(|a, b| a < b));
                    prop_assert!(token.drawn.is_sorted_by(|a, b| a < b));
                    let again = token.to_bytes().expect("a small token");
                    prop_assert_eq!(PageToken::from_bytes(&again), Some(token));
                }
            }
        }

        #[test]
        fn no_change_of_a_token_is_a_token(
            pins in sets(), at: prop::sample::Index, change in 1u8..,
        ) {
            let pins: Vec<u64> = pins.into_iter().collect();
            let mut bytes = token(&[1, 2], &pins).to_bytes().expect("few pins");
            prop_assert_eq!(PageToken::from_bytes(&bytes[..at.index(bytes.len())]), None);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert_eq!(PageToken::from_bytes(&bytes), None);
        }
    }

    #[test]
    fn sets_that_cannot_be_are_refused() {
        let head = [7; 32];
        let read = |rest: &[u8]| PageToken::from_bytes(&with_checksum(&[&head[..], rest].concat()));
        assert!(read(&[1, 0, 0]).is_some());
        assert!(read(&[1, 0, 0, 0]).is_none(), "a byte more");
        assert!(read(&[1, 0, 2, 0]).is_none(), "a pin less");
        let greatest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(read(&[&[1, 0, 1][..], &greatest].concat()).is_some());
        assert!(read(&[&[1, 0, 2][..], &greatest, &[0]].concat()).is_none());
        let too_great = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3];
        assert!(read(&[&[1, 0, 1][..], &too_great].concat()).is_none());
        let too_many = [&[1, 0, 0x89, 0x27][..], &[0; 5_001]].concat();
        assert!(read(&too_many).is_none());
        assert!(read(&[&[1, 0, 0x88, 0x27][..], &[0; 5_000]].concat()).is_some());
    }

    #[test]
    fn tokens_have_the_sizes_that_the_documentation_says() {
        let size = |count: usize, end: u64| {
            let token = token(&ids(20, end, 1), &ids(count, end, 2));
            token.to_bytes().expect("few pins").len()
        };
        let sizes = |count| [size(count, 1_000_000), size(count, u64::MAX)];
        // In docs/src/pages.md.
        let documented = [[885, 3_500], [3_650, 16_102], [7_713, 39_529]];
        assert_eq!([400, 2_000, 5_000].map(sizes), documented);
    }

    #[test]
    fn the_greatest_token_is_below_its_limit_and_a_greater_one_is_not_given_out() {
        // Steps of 57 bits until there is no room for more, then of 56 and fewer.
        let greatest = |count: usize| -> Vec<u64> {
            let (wide, narrow) = (1u64 << 56, 1u64 << 49);
            let room = u64::MAX - count as u64 * (narrow + 1);
            let wide_steps = room / (wide - narrow);
            let mut pins = Vec::new();
            let mut least = 0u64;
            for at in 0..count as u64 {
                let pin = least + if at < wide_steps { wide } else { narrow };
                pins.push(pin);
                least = pin + 1;
            }
            pins
        };
        let (drawn, pins) = (greatest(MAX_DRAWN), greatest(SESSION_PINS));
        let bytes = token(&drawn, &pins).to_bytes().expect("a token");
        let size = bytes.len();
        assert!((64_000..PAGE_TOKEN.max).contains(&size), "{size}");
        assert!(PageToken::from_bytes(&bytes).is_some());
        let more = [&pins[..], &[u64::MAX]].concat();
        assert_eq!(token(&drawn, &more).to_bytes(), None);
        // A round of more is forgotten.
        let more = [&drawn[..], &[u64::MAX]].concat();
        let bytes = token(&more, &pins).to_bytes().expect("a token");
        let read = PageToken::from_bytes(&bytes).expect("a token");
        assert_eq!((read.drawn.len(), read.pins.len()), (0, SESSION_PINS));
    }
}
