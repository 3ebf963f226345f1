// Package cbor is the small part of RFC 8949 that the mini-protocols need on their hot paths: a resumable scanner that
// finds message ends without looking at a byte twice, a strict cursor that hands out sub-slices, and shortest-form
// encoders. Nothing here allocates unless an item nests deeper than eight levels or a decode fails.
//
// Three rules hold everywhere (wire §0): heads that are longer than necessary are accepted and never produced; strings in
// chunks are well-formed, so the [Scanner] passes them, but a [Reader] that is asked for a string refuses them; and a
// declared length is only ever compared with the bytes that are there, never used to size anything.
package cbor
