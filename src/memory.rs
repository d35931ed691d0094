//! Memory for the search of the graph: huge pages, mapped files, and fetching ahead.
//!
//! This is the only file with `unsafe` code.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::{Advice, Mmap, MmapMut};

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Asks the processor to fetch `rows` into its nearest cache, without waiting.
#[inline(always)]
pub fn prefetch<T>(rows: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of_val(rows)).step_by(CACHE_LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = rows.as_ptr().cast::<i8>().wrapping_add(offset);
        // SAFETY: a prefetch is a hint that neither reads nor faults, whatever
        // the address; SSE is part of every x86-64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (rows, CACHE_LINE);
}

/// Memory for `T` in huge pages where the system grants them: a search touches
/// thousands of scattered rows, and with pages of 4 KiB most of them would miss the
/// TLB as well.
#[derive(Debug)]
pub struct Pages<T> {
    map: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Pages<T> {
    /// `len` zeroed values.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let bytes = len
            .checked_mul(size_of::<T>())
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes.max(1))?;
        // Without huge pages everything works, only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::HugePage);
        Ok(Self {
            map,
            len,
            element: PhantomData,
        })
    }
}

impl<T: Pod> Deref for Pages<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map[..self.len * size_of::<T>()])
    }
}

/// A mapped file of `T`: it opens at once, and pages that are never read take no
/// memory.
#[derive(Debug)]
pub struct Mapped<T> {
    /// None for an empty file, which cannot be mapped.
    map: Option<Mmap>,
    element: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// Maps `file`, which must hold a whole number of `T`. Rows are read in no order, so
    /// the system is advised not to read ahead.
    pub fn new(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self {
                map: None,
                element: PhantomData,
            });
        }
        // SAFETY: the file must not change while it is mapped. It belongs to a
        // version of a snapshot, whose files are written under another name,
        // renamed when they are whole, and never opened for writing again.
        let map = unsafe { Mmap::map(file)? };
        if map.len() % size_of::<T>() != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        #[cfg(unix)]
        let _ = map.advise(Advice::Random);
        Ok(Self {
            map: Some(map),
            element: PhantomData,
        })
    }
}

impl<T: Pod> Deref for Mapped<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        self.map.as_deref().map_or(&[], bytemuck::cast_slice)
    }
}

/// Values in memory, or in a mapped file.
#[derive(Debug)]
pub enum Stored<T> {
    /// In memory.
    Owned(Vec<T>),
    /// In a file.
    Mapped(Mapped<T>),
}

impl<T: Pod> Deref for Stored<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            Self::Mapped(values) => values,
        }
    }
}

impl<T: Pod> Stored<T> {
    /// The values for writing; those of a file are copied first.
    pub fn to_mut(&mut self) -> &mut Vec<T> {
        if let Self::Mapped(values) = self {
            *self = Self::Owned(values.to_vec());
        }
        match self {
            Self::Owned(values) => values,
            Self::Mapped(_) => unreachable!("has just been copied"),
        }
    }
}

impl<T: Pod> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self::Owned(self.to_vec())
    }
}

impl<T: Pod + PartialEq> PartialEq for Stored<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pages_and_mapped_files_hold_what_a_vec_holds() {
        for len in [0usize, 1, 5, 70_000] {
            let values: Vec<u32> = (0..len as u32)
                .map(|i| i.wrapping_mul(0x9E37_79B9))
                .collect();
            let mut pages = Pages::<u32>::zeroed(len).expect("memory");
            assert!(pages.iter().all(|&value| value == 0));
            pages.copy_from_slice(&values);
            assert_eq!(*pages, *values);

            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytemuck::cast_slice(&values)).expect("room");
            let mapped = Mapped::<u32>::new(&file).expect("a whole number");
            assert_eq!(*mapped, *values);
            let mut stored = Stored::Mapped(mapped);
            assert!(stored == Stored::Owned(values.clone()));
            stored.to_mut().push(7);
            assert_eq!((stored.len(), stored.last()), (len + 1, Some(&7)));
        }
    }

    #[test]
    fn a_file_of_half_a_value_is_refused() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0; 7]).expect("room");
        assert!(Mapped::<u32>::new(&file).is_err());
    }

    #[test]
    fn fetching_ahead_changes_nothing() {
        let values: Vec<u64> = (0..100).collect();
        prefetch(&values[3..]);
        prefetch::<u64>(&[]);
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }
}
