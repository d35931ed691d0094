//! Writing Parquet files of which nobody ever sees a part.

use std::fs::{self, File};
use std::path::Path;

use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::BatchError;

/// Writes the Parquet file `out`, whose name is taken only by a whole file.
pub(crate) fn write_whole(
    out: &Path,
    schema: SchemaRef,
    fill: impl FnOnce(&mut ArrowWriter<File>) -> Result<(), ArrowError>,
) -> Result<(), BatchError> {
    let failed = |e: &dyn std::fmt::Display| BatchError::file(out, e);
    let side = out.with_extension(format!("partial-{}", std::process::id()));
    let write = || -> Result<(), ArrowError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let file = File::create(&side)?;
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties))?;
        fill(&mut writer)?;
        writer.into_inner()?.sync_all()?;
        Ok(())
    };
    let written = write().map_err(|e| failed(&e));
    let renamed = written.and_then(|()| fs::rename(&side, out).map_err(|e| failed(&e)));
    if renamed.is_err() {
        // The error that is told is the first one.
        let _ = fs::remove_file(&side);
    }
    renamed
}

/// The type of moments in what we write.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
