// Package access restricts some functions of public packages to this module.
//
// [Key] is the argument of an exported function that only this module may call:
// another module cannot import this package, so it cannot name the type. Each
// public package has at most one such function, called Internal. The methods of
// its result are the API for this module alone. (The Go standard library does the
// same between encoding/json/v2 and encoding/json/jsontext.)
//
// The package has no state. It is not for what users need: that belongs in the
// public packages themselves.
package access

// A Key is the argument of functions that only this module calls.
type Key struct{ _ struct{} }
