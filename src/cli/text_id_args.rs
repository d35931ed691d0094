//! The argument for ids in files without types.

use clap::{Args, ValueEnum};

use crate::batch::TextIds;

#[derive(Debug, Args)]
pub(super) struct TextIdArgs {
    /// How CSV and JSON Lines files spell ids. In Parquet, the type of the column tells.
    #[arg(long, value_name = "CHOICE", default_value = "auto")]
    text_ids: TextIdChoice,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TextIdChoice {
    /// As numbers, unless most of the first rows have something else.
    Auto,
    /// As numbers.
    Numbers,
    /// As strings, also where these look like numbers.
    Strings,
}

impl TextIdArgs {
    pub(super) fn text_ids(&self) -> TextIds {
        match self.text_ids {
            TextIdChoice::Auto => TextIds::Auto,
            TextIdChoice::Numbers => TextIds::Numbers,
            TextIdChoice::Strings => TextIds::Strings,
        }
    }
}
