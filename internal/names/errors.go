package names

import "errors"

// The errors that callers test for with [errors.Is].
var (
	// ErrNotFound: nobody has a valid record of the name, the domain has no
	// DNSLink, there is no such key.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: it can't be read, or isn't what it claims to be: a record
	// that another key signed, a name that is none.
	ErrInvalid = errors.New("not valid")
	// ErrExpired: the record was valid once.
	ErrExpired = errors.New("expired")
	// ErrRollback: the sequence is lower than one that was seen before.
	ErrRollback = errors.New("rollback refused")
	// ErrTooDeep: names lead to each other in a circle, or over too many steps.
	ErrTooDeep = errors.New("names lead too far")
	// ErrExists: a key of that name is there.
	ErrExists = errors.New("already exists")
	// ErrPassphrase: the key is encrypted, and the passphrase is missing or
	// another one.
	ErrPassphrase = errors.New("passphrase needed")
	// ErrNotSent: the record is signed and kept here, and nobody else took it.
	ErrNotSent = errors.New("nobody took the record")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("names are closed")
)
