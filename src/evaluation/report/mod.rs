//! Reports on models: their measures, tables, and a page with plots.

mod dot_plot;
mod label_layout;
mod model_report;
mod page;
mod plots;
mod scale;
mod scatter_plot;
mod style;
mod svg;
mod table;

pub(crate) use model_report::report;
pub use model_report::{Head, ModelReport, Segment, Segments};
pub use page::{Page, html};
pub use table::Table;
pub(crate) use table::percent;
