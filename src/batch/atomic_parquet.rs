//! Atomic writes of Parquet files: a reader never sees a part of one.

use std::fs::{self, File};
use std::path::Path;

use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::error::BatchError;

/// Writes the Parquet file `out`: under another name until it is complete.
pub(crate) fn write_parquet_atomically(
    out: &Path,
    schema: SchemaRef,
    fill: impl FnOnce(&mut ArrowWriter<File>) -> Result<(), ArrowError>,
) -> Result<(), BatchError> {
    let failed = |e: &dyn std::fmt::Display| BatchError::file(out, e);
    let partial = out.with_extension(format!("partial-{}", std::process::id()));
    let write = || -> Result<(), ArrowError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let file = File::create(&partial)?;
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties))?;
        fill(&mut writer)?;
        writer.into_inner()?.sync_all()?;
        Ok(())
    };
    let written = write().map_err(|e| failed(&e));
    let renamed = written.and_then(|()| fs::rename(&partial, out).map_err(|e| failed(&e)));
    if renamed.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    renamed
}

/// The type of times in written files.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{RecordBatch, UInt64Array};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn files(directory: &Path) -> usize {
        fs::read_dir(directory).expect("a directory").count()
    }

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("ids.parquet");
        let field = Field::new("id", DataType::UInt64, false);
        let schema = Arc::new(Schema::new(vec![field]));
        let failed = write_parquet_atomically(&out, schema.clone(), |_| {
            Err(ArrowError::SchemaError("on purpose".to_owned()))
        });
        let error = failed.expect_err("a failed write").to_string();
        assert!(
            error.contains("ids.parquet") && error.contains("on purpose"),
            "{error}"
        );
        assert_eq!(files(directory.path()), 0);

        let written = write_parquet_atomically(&out, schema.clone(), |writer| {
            let ids = Arc::new(UInt64Array::from(vec![1, 2]));
            Ok(writer.write(&RecordBatch::try_new(schema.clone(), vec![ids])?)?)
        });
        written.expect("a file");
        assert!(out.exists());
        assert_eq!(files(directory.path()), 1);
    }
}
