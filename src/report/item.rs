//! Content items: the tree that a structured report is (PS3.3 section C.17.3).

use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::codes;
use super::element::{coded, decimal, sequence, text};
use super::source::SourceInstance;
use crate::dicom::CodedValue;

/// How an item belongs to the one above it (PS3.3 table C.17.3.2.4-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relationship {
    Contains,
    ConceptModifier,
    ObservationContext,
    Properties,
}

impl Relationship {
    fn term(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::ConceptModifier => "HAS CONCEPT MOD",
            Self::ObservationContext => "HAS OBS CONTEXT",
            Self::Properties => "HAS PROPERTIES",
        }
    }
}

/// What an item says.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Container,
    Code(CodedValue),
    Text(String),
    Uid(String),
    /// A finite number and its unit.
    Number(f32, CodedValue),
    /// SOP class and instance.
    Image(String, String),
}

/// One item with all that is below it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    relationship: Relationship,
    concept: CodedValue,
    value: Value,
    children: Vec<Item>,
}

impl Item {
    pub(super) fn new(relationship: Relationship, concept: impl Into<CodedValue>, value: Value) -> Self {
        Self {
            relationship,
            concept: concept.into(),
            value,
            children: Vec::new(),
        }
    }

    pub(super) fn contains(concept: impl Into<CodedValue>, value: Value) -> Self {
        Self::new(Relationship::Contains, concept, value)
    }

    pub(super) fn modifier(concept: impl Into<CodedValue>, value: Value) -> Self {
        Self::new(Relationship::ConceptModifier, concept, value)
    }

    pub(super) fn context(concept: impl Into<CodedValue>, value: Value) -> Self {
        Self::new(Relationship::ObservationContext, concept, value)
    }

    pub(super) fn property(concept: impl Into<CodedValue>, value: Value) -> Self {
        Self::new(Relationship::Properties, concept, value)
    }

    pub(super) fn container(concept: impl Into<CodedValue>, children: Vec<Item>) -> Self {
        Self::contains(concept, Value::Container).with(children)
    }

    pub(super) fn source(image: &SourceInstance) -> Self {
        let value = Value::Image(image.class.clone(), image.uid.to_string());
        Self::contains(codes::SOURCE_OF_MEASUREMENT, value)
    }

    /// The same with `children` after those that it has.
    pub(super) fn with(mut self, children: impl IntoIterator<Item = Item>) -> Self {
        self.children.extend(children);
        self
    }

    /// Its attributes without a relationship, as those of the root stand in the data set itself.
    pub(super) fn into_root(self) -> InMemDicomObject {
        let mut elements = vec![sequence(
            tags::CONCEPT_NAME_CODE_SEQUENCE,
            vec![coded(self.concept)],
        )];
        let kind = match self.value {
            Value::Container => {
                elements.push(text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"));
                "CONTAINER"
            }
            Value::Code(code) => {
                elements.push(sequence(tags::CONCEPT_CODE_SEQUENCE, vec![coded(code)]));
                "CODE"
            }
            Value::Text(value) => {
                elements.push(text(tags::TEXT_VALUE, VR::UT, value));
                "TEXT"
            }
            Value::Uid(uid) => {
                elements.push(text(tags::UID, VR::UI, uid));
                "UIDREF"
            }
            Value::Number(number, unit) => {
                let measured = InMemDicomObject::from_element_iter([
                    sequence(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![coded(unit)]),
                    text(tags::NUMERIC_VALUE, VR::DS, decimal(number)),
                ]);
                elements.push(sequence(tags::MEASURED_VALUE_SEQUENCE, vec![measured]));
                "NUM"
            }
            Value::Image(class, instance) => {
                elements.push(sequence(
                    tags::REFERENCED_SOP_SEQUENCE,
                    vec![reference(&class, &instance)],
                ));
                "IMAGE"
            }
        };
        elements.push(text(tags::VALUE_TYPE, VR::CS, kind));
        if !self.children.is_empty() {
            let children = self.children.into_iter().map(Item::into_child).collect();
            elements.push(sequence(tags::CONTENT_SEQUENCE, children));
        }
        InMemDicomObject::from_element_iter(elements)
    }

    fn into_child(self) -> InMemDicomObject {
        let relationship = text(tags::RELATIONSHIP_TYPE, VR::CS, self.relationship.term());
        let mut item = self.into_root();
        item.put(relationship);
        item
    }
}

/// The item of a sequence that refers to an instance (PS3.3 section 10.8).
pub(super) fn reference(class: &str, instance: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance),
    ])
}
