//! Content items of a structured report (PS3.3 C.17.3): each with its value and the items below it.

use dicom_dictionary_std::tags;

use super::code::Code;
use super::object::{DataSet, decimal, put, put_code, put_f32, put_items, reference};
use super::region::Region;
use super::source::SourceImage;

/// How an item relates to the one above it.
pub(super) const CONTAINS: &str = "CONTAINS";
pub(super) const HAS_CONCEPT_MOD: &str = "HAS CONCEPT MOD";
pub(super) const HAS_OBS_CONTEXT: &str = "HAS OBS CONTEXT";
const SELECTED_FROM: &str = "SELECTED FROM";

/// A content item with everything below it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    object: DataSet,
    below: Vec<Item>,
}

impl Item {
    fn new(relationship: &str, value_type: &str, concept: &Code) -> Item {
        let mut object = DataSet::new_empty();
        if !relationship.is_empty() {
            put(&mut object, tags::RELATIONSHIP_TYPE, relationship);
        }
        put(&mut object, tags::VALUE_TYPE, value_type);
        put_code(&mut object, tags::CONCEPT_NAME_CODE_SEQUENCE, concept);
        Item { object, below: Vec::new() }
    }

    /// The root, or a container below it, that follows a template of PS3.16.
    pub(super) fn container(relationship: &str, concept: &Code, template: Option<&str>) -> Item {
        let mut item = Item::new(relationship, "CONTAINER", concept);
        put(&mut item.object, tags::CONTINUITY_OF_CONTENT, "SEPARATE");
        if let Some(template) = template {
            let mut identification = DataSet::new_empty();
            put(&mut identification, tags::MAPPING_RESOURCE, "DCMR");
            put(&mut identification, tags::MAPPING_RESOURCE_UID, "1.2.840.10008.8.1.1");
            put(&mut identification, tags::TEMPLATE_IDENTIFIER, template);
            put_items(&mut item.object, tags::CONTENT_TEMPLATE_SEQUENCE, vec![identification]);
        }
        item
    }

    pub(super) fn code(relationship: &str, concept: &Code, value: &Code) -> Item {
        let mut item = Item::new(relationship, "CODE", concept);
        put_code(&mut item.object, tags::CONCEPT_CODE_SEQUENCE, value);
        item
    }

    /// `text` is ASCII.
    pub(super) fn text(relationship: &str, concept: &Code, text: &str) -> Item {
        let mut item = Item::new(relationship, "TEXT", concept);
        put(&mut item.object, tags::TEXT_VALUE, text);
        item
    }

    pub(super) fn uid(relationship: &str, concept: &Code, uid: &str) -> Item {
        let mut item = Item::new(relationship, "UIDREF", concept);
        put(&mut item.object, tags::UID, uid);
        item
    }

    pub(super) fn number(concept: &Code, value: f64, unit: &Code) -> Item {
        let mut item = Item::new(CONTAINS, "NUM", concept);
        let mut measured = DataSet::new_empty();
        put_code(&mut measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE, unit);
        put(&mut measured, tags::NUMERIC_VALUE, &decimal(value));
        put_items(&mut item.object, tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
        item
    }

    pub(super) fn image(relationship: &str, concept: &Code, image: &SourceImage) -> Item {
        let mut item = Item::new(relationship, "IMAGE", concept);
        put_items(&mut item.object, tags::REFERENCED_SOP_SEQUENCE, vec![reference(image)]);
        item
    }

    /// A closed outline: on the image that it was drawn on, or in space.
    pub(super) fn region(concept: &Code, source: &Code, region: &Region, frame_of_reference: &str) -> Item {
        match region {
            Region::Image { image, edges } => {
                let mut item = Item::new(CONTAINS, "SCOORD", concept);
                put(&mut item.object, tags::GRAPHIC_TYPE, "POLYLINE");
                let points = edges.outline().concat();
                put_f32(&mut item.object, tags::GRAPHIC_DATA, &points.iter().map(|&p| p as f32).collect::<Vec<_>>());
                item.with([Item::image(SELECTED_FROM, source, image)])
            }
            Region::Space { outline } => {
                let mut item = Item::new(CONTAINS, "SCOORD3D", concept);
                put(&mut item.object, tags::GRAPHIC_TYPE, "POLYGON");
                let points = outline.concat();
                put_f32(&mut item.object, tags::GRAPHIC_DATA, &points.iter().map(|&p| p as f32).collect::<Vec<_>>());
                put(&mut item.object, tags::REFERENCED_FRAME_OF_REFERENCE_UID, frame_of_reference);
                item
            }
        }
    }

    /// Puts items below this one, after those that are there.
    pub(super) fn with(mut self, below: impl IntoIterator<Item = Item>) -> Item {
        self.below.extend(below);
        self
    }

    /// Returns the item and all below it as a data set.
    pub(super) fn into_data_set(self) -> DataSet {
        let Item { mut object, below } = self;
        if !below.is_empty() {
            let below = below.into_iter().map(Item::into_data_set).collect();
            put_items(&mut object, tags::CONTENT_SEQUENCE, below);
        }
        object
    }
}
