package names

import "errors"

// The errors that callers test for with [errors.Is].
var (
	// ErrNotFound: no valid record of the name was found, or the domain has no
	// DNSLink.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: malformed, or not authentic: a record signed by another key,
	// for example.
	ErrInvalid = errors.New("not valid")
	// ErrExpired: the record was valid once.
	ErrExpired = errors.New("expired")
	// ErrRollback: the sequence is lower than one that was seen before.
	ErrRollback = errors.New("rollback refused")
	// ErrTooDeep: names lead to each other in a circle, or over too many steps.
	ErrTooDeep = errors.New("names lead too far")
	// ErrKeyNotFound: no key has that name or id.
	ErrKeyNotFound = errors.New("not found")
	// ErrExists: a key of that name exists.
	ErrExists = errors.New("already exists")
	// ErrSelfKey: the key is the node's identity.
	ErrSelfKey = errors.New("it is the node's identity, which can't be changed")
	// ErrPassphrase: the key is encrypted, and the passphrase is missing or
	// wrong.
	ErrPassphrase = errors.New("passphrase needed")
	// ErrNotSent: the record is signed and kept here, but no store or peer took
	// it.
	ErrNotSent = errors.New("nobody took the record")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("names are closed")
)
