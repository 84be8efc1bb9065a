//! A value that says nothing for each value representation (DICOM PS3.5 6.2): for attributes that an object must have.

use dicom_core::VR;

/// Returns one value without padding.
pub(super) fn dummy(vr: VR) -> &'static [u8] {
    use VR::*;
    match vr {
        AE | CS | LO | LT | PN | SH | ST | UC | UT => b"ANON",
        AS => b"000D",
        DA => b"19000101",
        DT => b"19000101000000",
        TM => b"000000",
        DS | IS => b"0",
        UR => b"urn:anon",
        // Replaced by a keyed hash before it comes to this.
        UI => b"2.25.0",
        US | SS | OW | OB | UN => &[0; 2],
        AT | FL | UL | SL | OF | OL => &[0; 4],
        FD | OD | OV | SV | UV => &[0; 8],
        SQ => b"",
    }
}
