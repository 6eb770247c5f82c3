//! QIDO-RS as clients meet it, through the router, with a real store.
