//! NIfTI-1 files (`.nii`, `.nii.gz`): the stored grid as it is, with its place in RAS millimetres in both the
//! quaternion and the affine form, so that readers that prefer either agree.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::geometry::{cross, dot, scale};
use crate::pixels::whole_range;
use crate::store::{little_endian, write_whole};
use crate::{Result, Volume, VolumeGeometry, VolumePlan};

const HEADER_BYTES: usize = 348;
/// The header and four bytes that say that no extension follows.
const DATA_OFFSET: usize = 352;
const SCANNER_COORDINATES: i16 = 1;
const MILLIMETRES: u8 = 2;
/// 1.5 * 2^23: added to a whole number of 16 bits it leaves that number in the low bits of the sum's mantissa. `as i16` has to
/// look at every value for what does not fit, and takes as long as all the rest.
const TO_LOW_BITS: f32 = 12_582_912.0;

/// How voxels are stored: the same values in half the room where all of them are whole numbers of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataType {
    Int16,
    Float32,
}

impl DataType {
    /// Returns the smaller one that holds every value that the slices can have.
    pub(crate) fn of(plan: &VolumePlan) -> Self {
        let fits = |[least, largest]: [f64; 2]| f64::from(i16::MIN) <= least && largest <= f64::from(i16::MAX);
        let whole = plan.frames.iter().all(|frame| whole_range(frame).is_some_and(fits));
        if whole { DataType::Int16 } else { DataType::Float32 }
    }

    /// Code and bits of nifti1.h.
    fn code_and_bits(self) -> [i16; 2] {
        match self {
            DataType::Int16 => [4, 16],
            DataType::Float32 => [16, 32],
        }
    }

    pub(crate) fn encode(self, voxels: &[f32]) -> Cow<'_, [u8]> {
        match self {
            DataType::Int16 => {
                let mut bytes = vec![0; 2 * voxels.len()];
                let words = bytes.as_chunks_mut().0.iter_mut();
                words
                    .zip(voxels)
                    .for_each(|(word, value)| *word = ((value + TO_LOW_BITS).to_bits() as u16).to_le_bytes());
                Cow::Owned(bytes)
            }
            DataType::Float32 => little_endian(voxels),
        }
    }
}

/// Writes a volume, compressed. The first index of the file is the column, then row, slice.
pub(crate) fn write_gz(path: &Path, volume: &Volume, data_type: DataType) -> Result<()> {
    write_whole(path, |writer| {
        let mut encoder = flate2::write::GzEncoder::new(BufWriter::new(writer), flate2::Compression::fast());
        encoder.write_all(&header(&volume.geometry, data_type).map_err(std::io::Error::other)?)?;
        let voxels = volume.voxels.as_standard_layout();
        for row in voxels.rows() {
            let row = row.to_slice().ok_or_else(|| std::io::Error::other("voxels of a row are not side by side"))?;
            encoder.write_all(&data_type.encode(row))?;
        }
        encoder.finish()?.flush()
    })
}

/// Directions of column, row and slice index in RAS: the first two LPS axes point the other way.
fn axes_ras(geometry: &VolumeGeometry) -> [[f64; 3]; 3] {
    [geometry.column_axis, geometry.row_axis, geometry.slice_axis].map(ras)
}

fn ras([left, posterior, superior]: [f64; 3]) -> [f64; 3] {
    [-left, -posterior, superior]
}

/// Returns what stands before the voxels, which follow little endian, slice by slice, row by row.
pub(crate) fn header(geometry: &VolumeGeometry, data_type: DataType) -> Result<Vec<u8>, String> {
    let [slices, rows, columns] = geometry.shape;
    let spacing = [geometry.spacing_mm[2], geometry.spacing_mm[1], geometry.spacing_mm[0]];
    let axes = axes_ras(geometry);
    let origin = ras(geometry.origin_lps);
    let (handedness, quaternion) = quaternion(axes);
    let mut header = vec![0; DATA_OFFSET];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(HEADER_BYTES as i32).to_le_bytes());
    for (index, extent) in [3, columns, rows, slices, 1, 1, 1, 1].into_iter().enumerate() {
        let extent =
            i16::try_from(extent).map_err(|_| format!("NIfTI-1 holds at most 32767 of {extent} along an axis"))?;
        put(40 + 2 * index, &extent.to_le_bytes());
    }
    let [code, bits] = data_type.code_and_bits();
    put(70, &code.to_le_bytes());
    put(72, &bits.to_le_bytes());
    let mut floats = |at: usize, values: &[f64]| {
        values.iter().enumerate().for_each(|(index, value)| put(at + 4 * index, &(*value as f32).to_le_bytes()));
    };
    floats(76, &[handedness, spacing[0], spacing[1], spacing[2]]);
    floats(108, &[DATA_OFFSET as f64, 1.0, 0.0]);
    floats(256, &[quaternion, origin].concat());
    for axis in 0..3 {
        let row = [axes[0][axis] * spacing[0], axes[1][axis] * spacing[1], axes[2][axis] * spacing[2], origin[axis]];
        floats(280 + 16 * axis, &row);
    }
    put(123, &[MILLIMETRES]);
    put(252, &SCANNER_COORDINATES.to_le_bytes());
    put(254, &SCANNER_COORDINATES.to_le_bytes());
    put(344, b"n+1\0");
    Ok(header)
}

/// Returns `qfac` and the quaternion (b, c, d) of a rotation, following nifti1.h.
fn quaternion(mut axes: [[f64; 3]; 3]) -> (f64, [f64; 3]) {
    let right_handed = dot(cross(axes[0], axes[1]), axes[2]) > 0.0;
    if !right_handed {
        axes[2] = scale(axes[2], -1.0);
    }
    let element = |row: usize, column: usize| axes[column][row];
    let trace = element(0, 0) + element(1, 1) + element(2, 2);
    let mut rotation = [0.0; 4];
    if trace > 0.0 {
        rotation[0] = 0.5 * (trace + 1.0).sqrt();
        for axis in 0..3 {
            let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
            rotation[axis + 1] = 0.25 * (element(last, next) - element(next, last)) / rotation[0];
        }
    } else {
        let largest = (0..3).max_by(|a, b| element(*a, *a).total_cmp(&element(*b, *b))).unwrap_or(0);
        let (next, last) = ((largest + 1) % 3, (largest + 2) % 3);
        let twice = (1.0 + element(largest, largest) - element(next, next) - element(last, last)).max(0.0).sqrt();
        rotation[largest + 1] = 0.5 * twice;
        rotation[next + 1] = 0.5 * (element(next, largest) + element(largest, next)) / twice;
        rotation[last + 1] = 0.5 * (element(last, largest) + element(largest, last)) / twice;
        rotation[0] = 0.5 * (element(last, next) - element(next, last)) / twice;
    }
    let sign = if rotation[0] < 0.0 { -1.0 } else { 1.0 };
    (if right_handed { 1.0 } else { -1.0 }, [rotation[1] * sign, rotation[2] * sign, rotation[3] * sign])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::unit;

    /// The rotation a reader makes of qfac and quaternion (nifti1.h).
    fn axes_of((handedness, [b, c, d]): (f64, [f64; 3])) -> [[f64; 3]; 3] {
        let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
        let first = [a * a + b * b - c * c - d * d, 2.0 * (b * c + a * d), 2.0 * (b * d - a * c)];
        let second = [2.0 * (b * c - a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d + a * b)];
        let third = [2.0 * (b * d + a * c), 2.0 * (c * d - a * b), a * a + d * d - b * b - c * c];
        [first, second, scale(third, handedness)]
    }

    #[test]
    fn quaternions_of_all_orientations_give_the_axes_back() {
        for direction in [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.3, -0.8, 0.5], [-0.9, 0.1, -0.4]] {
            let first = unit(direction);
            for other in [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]] {
                let second = unit(cross(other, first));
                for sign in [1.0, -1.0] {
                    let axes = [first, second, scale(cross(first, second), sign)];
                    let found = axes_of(quaternion(axes));
                    let off = axes.iter().flatten().zip(found.iter().flatten()).map(|(a, b)| (a - b).abs());
                    assert!(off.fold(0.0, f64::max) < 1e-7, "{axes:?} {found:?}");
                }
            }
        }
    }

    #[test]
    fn header_says_where_the_voxels_lie_in_ras() {
        let geometry = VolumeGeometry {
            shape: [5, 3, 4],
            origin_lps: [20.0, -7.0, 30.0],
            slice_axis: [-1.0, 0.0, 0.0],
            row_axis: [0.0, 0.0, -1.0],
            column_axis: [0.0, 1.0, 0.0],
            spacing_mm: [4.0, 0.8, 0.5],
        };
        let header = header(&geometry, DataType::Float32).expect("a header");
        let float = |at: usize| f32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let affine: Vec<f32> = (0..12).map(|index| float(280 + 4 * index)).collect();
        assert_eq!(affine, [0.0, 0.0, 4.0, -20.0, -0.5, 0.0, 0.0, 7.0, 0.0, -0.8, 0.0, 30.0]);
        assert_eq!((&header[40..48], &header[344..348]), (&[3, 0, 4, 0, 3, 0, 5, 0][..], &b"n+1\0"[..]));
    }

    #[test]
    fn every_whole_number_of_16_bits_is_stored_as_it_is() {
        let numbers: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let voxels: Vec<f32> = numbers.iter().map(|number| f32::from(*number)).collect();
        let expected: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(DataType::Int16.encode(&voxels), expected);
    }
}
