//! How complete answers say they are.
