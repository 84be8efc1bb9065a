//! Tests of the crate as its users see it: small series made here with answers known by construction, and real series.

mod deid;
mod disagreement;
mod encoded;
mod hostile;
mod images;
mod mutations;
mod peers;
mod pixels;
mod pydicom;
mod real_data;
mod selecting;
mod series;
mod volumes;
