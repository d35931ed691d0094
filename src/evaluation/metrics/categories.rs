//! The category of a pin, where its title names one: the text in its last parentheses up
//! to the first comma, as in `Whole Milk (FLUID MILK, GROCERY)`.

use std::collections::HashMap;

use crate::index::PinTable;

/// The number of the category of each pin, from 1, in the order of the pins' ids; 0 for
/// pins without one.
pub(crate) fn categories_of_pins(pins: &PinTable) -> Vec<u32> {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut number = |category| {
        let next = numbers.len() as u32 + 1;
        *numbers.entry(category).or_insert(next)
    };
    let titles = pins.ids().iter().map(|&pin| pins.title(pin));
    titles
        .map(|title| category(title).map_or(0, &mut number))
        .collect()
}

fn category(title: &str) -> Option<&str> {
    let (_, behind) = title.rsplit_once('(')?;
    let (inside, _) = behind.split_once(')')?;
    let first = inside.split(',').next().map(str::trim);
    first.filter(|category| !category.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_in_the_last_parentheses_before_the_first_comma() {
        assert_eq!(
            category("Milk (2 %) (FLUID MILK, 1 GA)"),
            Some("FLUID MILK")
        );
        assert_eq!(category("Toy Story (1995)"), Some("1995"));
        for none in ["", "Milk", "Milk ()", "Milk (open", "Milk ( , 1 GA)"] {
            assert_eq!(category(none), None);
        }
    }
}
