//! The proposed settings, and their file.

use super::step::Step;

/// The proposed settings, and how they were chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// For `profiles.alpha`.
    pub alpha: f64,
    /// For `profiles.lambda_per_day`.
    pub lambda_per_day: f64,
    /// For `merge_strategy` of requests.
    pub merge: &'static str,
    /// The parameters in the order in which they were chosen, each with the values that
    /// were chosen before.
    pub steps: Vec<Step>,
}

impl Tuned {
    /// A file of settings with the proposal, below `head` and the measures as comments.
    pub fn settings(&self, head: &str) -> String {
        let tables = self.steps.iter().map(|step| format!("\n{}", step.table()));
        let comment = comment(&format!("{head}\n{}", tables.collect::<String>()));
        format!(
            "{comment}\n[profiles]\nalpha = {:?}\nlambda_per_day = {:?}\n\n\
             # The merge strategy is no setting but a field of each request\n\
             # (`merge_strategy`): {} is proposed for it.\n",
            self.alpha, self.lambda_per_day, self.merge
        )
    }
}

/// `text` as comments of TOML, whatever characters it has.
fn comment(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line = |line: &str| {
        let line: String = line.chars().map(printable).collect();
        format!("{}\n", format!("# {line}").trim_end())
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_stays_one() {
        assert_eq!(comment("a\nb = 1\r[c]\n\nd"), "# a\n# b = 1 [c]\n#\n# d\n");
    }
}
