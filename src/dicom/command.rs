//! What DIMSE messages say in numbers: Command Field (0000,0100), Command Data Set Type (0000,0800), Priority (0000,0700) and Status
//! (0000,0900), from PS3.7 annexes C and E and PS3.4 section B.2.3.

/// C-STORE-RQ.
pub const C_STORE: u16 = 0x0001;
/// C-FIND-RQ.
pub const C_FIND: u16 = 0x0020;
/// C-ECHO-RQ.
pub const C_ECHO: u16 = 0x0030;
/// C-CANCEL-RQ, which has no response.
pub const C_CANCEL: u16 = 0x0FFF;
/// The bit by which the Command Field of a response differs from that of its request.
pub const RESPONSE: u16 = 0x8000;

/// Command Data Set Type: no data set follows. Every other value says that one does.
pub const NO_DATA_SET: u16 = 0x0101;
/// Command Data Set Type, where a data set follows.
pub const DATA_SET: u16 = 0x0001;

/// Priority: medium, which says nothing.
pub const MEDIUM: u16 = 0x0000;
/// Priority: before all others.
pub const HIGH: u16 = 0x0001;

/// It was done.
pub const SUCCESS: u16 = 0x0000;
/// Processing failure: the fault is the provider's own.
pub const PROCESSING_FAILURE: u16 = 0x0110;
/// Refused: the SOP Instance UID is none.
pub const INVALID_INSTANCE: u16 = 0x0117;
/// Refused: SOP class not supported.
pub const CLASS_NOT_SUPPORTED: u16 = 0x0122;
/// Refused: unrecognised operation.
pub const UNRECOGNISED_OPERATION: u16 = 0x0211;
/// Refused: out of resources.
pub const OUT_OF_RESOURCES: u16 = 0xA700;
/// Error: the data set does not match its SOP class.
pub const DATA_SET_MISMATCH: u16 = 0xA900;
/// Error: cannot understand.
pub const CANNOT_UNDERSTAND: u16 = 0xC000;
