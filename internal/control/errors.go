package control

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
)

// ErrNoDaemon: no daemon answers at the address.
var ErrNoDaemon = errors.New("no daemon answers")

// Codes returns the errors that keep their identity on the way from a daemon.
func Codes() []httpapi.Code {
	return []httpapi.Code{
		{Code: "not-found", Err: block.ErrNotFound},
		{Code: "hash-mismatch", Err: block.ErrHashMismatch},
		{Code: "too-large", Err: block.ErrTooLarge},
		{Code: "hash-refused", Err: block.ErrHashRefused},
		{Code: "malformed", Err: block.ErrMalformed},
		{Code: "damaged", Err: block.ErrDamaged},
		{Code: "unknown-codec", Err: block.ErrUnknownCodec},
		{Code: "failed", Err: store.ErrFailed},
		{Code: "locked", Err: store.ErrLocked},
		{Code: "format", Err: store.ErrFormat},
		{Code: "disk-full", Err: store.ErrDiskFull},
		{Code: "live", Err: store.ErrLive},
		{Code: "no-alias", Err: store.ErrNoAlias},
		{Code: "eviction-held", Err: store.ErrEvictionHeld},
		{Code: "index-lost", Err: store.ErrIndexLost},
		{Code: "batch-lost", Err: store.ErrBatchLost},
		{Code: "not-file", Err: cairn.ErrNotFile},
		{Code: "not-directory", Err: cairn.ErrNotDirectory},
		{Code: "offline", Err: cairn.ErrOffline},
		{Code: "address", Err: cairn.ErrAddress},
		{Code: "no-source", Err: cairn.ErrNoSource},
		{Code: "no-routing", Err: cairn.ErrNoRouting},
		{Code: "no-peers", Err: cairn.ErrNoPeers},
		{Code: "no-answer", Err: cairn.ErrNoAnswer},
		{Code: "no-record", Err: cairn.ErrNoRecord},
		{Code: "name-not-found", Err: cairn.ErrNameNotFound, Status: http.StatusInternalServerError},
		{Code: "name-invalid", Err: cairn.ErrNameInvalid, Status: http.StatusBadRequest},
		{Code: "name-expired", Err: cairn.ErrNameExpired},
		{Code: "name-loop", Err: cairn.ErrNameLoop},
		{Code: "rollback", Err: cairn.ErrRollback},
		{Code: "not-sent", Err: cairn.ErrNotSent},
		{Code: "key-not-found", Err: cairn.ErrKeyNotFound},
		{Code: "key-exists", Err: cairn.ErrKeyExists},
		{Code: "self-key", Err: cairn.ErrSelfKey},
		{Code: "passphrase", Err: cairn.ErrPassphrase},
		{Code: "not-exist", Err: fs.ErrNotExist},
		{Code: "exist", Err: fs.ErrExist},
		{Code: "permission", Err: fs.ErrPermission},
		{Code: "timeout", Err: context.DeadlineExceeded},
	}
}

// An Error is an error that a daemon returned. errors.Is and errors.As find in
// it what they would find in the daemon's.
type Error struct {
	Message string
	Codes   []string // see httpapi.CodesOf
}

// A Failure is an error inside a result.
type Failure struct {
	Message string   `json:"message"`
	Codes   []string `json:"codes"`
}

// failureOf returns err as it arrives from a daemon, nil for nil.
func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	return &Failure{err.Error(), httpapi.CodesOf(Codes(), err)}
}

// Err returns the failure as an error, nil for nil.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	return &Error{f.Message, f.Codes}
}

// Error returns the daemon's message unchanged.
func (e *Error) Error() string { return e.Message }

// Is reports whether the daemon's error was target.
func (e *Error) Is(target error) bool {
	return slices.ContainsFunc(e.Codes, func(code string) bool { return httpapi.IsCode(Codes(), code, target) })
}

// As finds an *fs.PathError, if the daemon's error was about a file.
func (e *Error) As(target any) bool {
	path, ok := target.(**fs.PathError)
	if ok = ok && slices.Contains(e.Codes, httpapi.FileCode); ok {
		*path = &fs.PathError{Op: "at the daemon", Err: errors.New(e.Message)}
	}
	return ok
}
