package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Headers and trailers, as Kubo has them.
const (
	streamOutput  = "X-Stream-Output"
	chunkedOutput = "X-Chunked-Output"
	contentLength = "X-Content-Length"
	streamError   = "X-Stream-Error"
	// streamCodes is ours: the codes of the error in streamError.
	streamCodes = "X-Cairn-Error"
)

// maxTrailer bounds the message of an error behind an answer, in bytes. Go's
// clients read trailers of 4 KiB in all, and take a longer one for an attack.
const maxTrailer = 3 << 10

// ErrNoDaemon: nobody answers at the address.
var ErrNoDaemon = errors.New("no daemon answers")

// The errors of requests themselves.
var (
	// ErrBadRequest: arguments or options are wrong.
	ErrBadRequest = errors.New("bad request")
	// ErrForbidden: the API doesn't do that, or not for this client.
	ErrForbidden = errors.New("forbidden")
)

// codes are the errors that keep their identity on the way to the client.
var codes = []struct {
	code string
	err  error
}{
	{"not-found", block.ErrNotFound},
	{"hash-mismatch", block.ErrHashMismatch},
	{"too-large", block.ErrTooLarge},
	{"hash-refused", block.ErrHashRefused},
	{"malformed", block.ErrMalformed},
	{"damaged", block.ErrDamaged},
	{"unknown-codec", block.ErrUnknownCodec},
	{"failed", store.ErrFailed},
	{"locked", store.ErrLocked},
	{"format", store.ErrFormat},
	{"disk-full", store.ErrDiskFull},
	{"live", store.ErrLive},
	{"no-alias", store.ErrNoAlias},
	{"eviction-held", store.ErrEvictionHeld},
	{"index-lost", store.ErrIndexLost},
	{"batch-lost", store.ErrBatchLost},
	{"not-file", cairn.ErrNotFile},
	{"not-directory", cairn.ErrNotDirectory},
	{"offline", cairn.ErrOffline},
	{"address", cairn.ErrAddress},
	{"no-source", cairn.ErrNoSource},
	{"no-routing", cairn.ErrNoRouting},
	{"no-peers", cairn.ErrNoPeers},
	{"no-answer", cairn.ErrNoAnswer},
	{"no-record", cairn.ErrNoRecord},
	{"name-not-found", cairn.ErrNameNotFound},
	{"name-invalid", cairn.ErrNameInvalid},
	{"name-expired", cairn.ErrNameExpired},
	{"name-loop", cairn.ErrNameLoop},
	{"rollback", cairn.ErrRollback},
	{"not-sent", cairn.ErrNotSent},
	{"key-exists", cairn.ErrKeyExists},
	{"passphrase", cairn.ErrPassphrase},
	{"not-exist", fs.ErrNotExist},
	{"exist", fs.ErrExist},
	{"permission", fs.ErrPermission},
	{"timeout", context.DeadlineExceeded},
	{"bad-request", ErrBadRequest},
	{"forbidden", ErrForbidden},
}

// fileCode is that of an error about a file on the server's disk: an
// *fs.PathError there is one here.
const fileCode = "file"

// codesOf returns the codes of an error, as many as it is.
func codesOf(err error) []string {
	var all []string
	for _, c := range codes {
		if errors.Is(err, c.err) {
			all = append(all, c.code)
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		all = append(all, fileCode)
	}
	return all
}

// An Error is one that the server told of. Errors.Is finds in it what the
// server's own error was.
type Error struct {
	Message string
	// Codes say what it is; see codesOf.
	Codes []string
}

// Error returns the server's message, as it is.
func (e *Error) Error() string { return e.Message }

// Is tells whether the server's error was target.
func (e *Error) Is(target error) bool {
	for _, c := range codes {
		if c.err == target {
			return e.has(c.code)
		}
	}
	return false
}

// As finds an *fs.PathError, if the server's error was about a file.
func (e *Error) As(target any) bool {
	path, ok := target.(**fs.PathError)
	if ok = ok && e.has(fileCode); ok {
		*path = &fs.PathError{Op: "at the daemon", Err: errors.New(e.Message)}
	}
	return ok
}

func (e *Error) has(code string) bool {
	for _, c := range e.Codes {
		if c == code {
			return true
		}
	}
	return false
}

// A taggedError is an error with a sentinel that its message doesn't name.
type taggedError struct {
	error
	is error
}

func (e taggedError) Unwrap() []error { return []error{e.error, e.is} }

func badRequest(format string, args ...any) error {
	return taggedError{fmt.Errorf(format, args...), ErrBadRequest}
}

func forbidden(format string, args ...any) error {
	return taggedError{fmt.Errorf(format, args...), ErrForbidden}
}

// An errorShape is an error in JSON: Kubo's, and what we need besides.
type errorShape struct {
	Message string
	Code    int // 0, or 1 if the client is to blame, 4 if it's forbidden
	Type    string
	Cairn   *errorDetail `json:",omitempty"`
}

type errorDetail struct {
	Message string   `json:"message"`
	Codes   []string `json:"codes"`
}

// shapeOf returns an error's shape, and its HTTP status.
func shapeOf(err error) (errorShape, int) {
	shape := errorShape{Message: kuboMessage(err), Type: "error", Cairn: &errorDetail{err.Error(), codesOf(err)}}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrBadRequest), errors.Is(err, cairn.ErrNameInvalid) && !errors.Is(err, cairn.ErrNameNotFound):
		shape.Code, status = 1, http.StatusBadRequest
	case errors.Is(err, ErrForbidden):
		shape.Code, status = 4, http.StatusForbidden
	}
	return shape, status
}

// kuboMessage is an error's message with the words by which Kubo's clients tell
// that a block isn't there.
func kuboMessage(err error) string {
	message := err.Error()
	if !errors.Is(err, block.ErrNotFound) {
		return message
	}
	what := "node" // which stands for any
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" :,;\"'()/", r) }) {
		if len(word) < 46 {
			continue // shorter than any CID
		}
		if c, err := cid.Decode(word); err == nil {
			what = c.String()
		}
	}
	return message + ": ipld: could not find " + what
}

// refuse answers with an error in the place of a verb.
func (c *call) refuse(status int, err error) {
	c.unwanted()
	c.begun = true
	shape, _ := shapeOf(err)
	switch status {
	case http.StatusForbidden:
		shape.Code = 4
	case http.StatusServiceUnavailable:
	default:
		shape.Code = 1
	}
	c.deadline(c.control.SetWriteDeadline, c.idle)
	writeError(c.w, status, shape)
}

func writeError(w http.ResponseWriter, status int, shape errorShape) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Who doesn't read has left.
	_ = json.NewEncoder(w).Encode(shape)
}

// fail tells of an error: in the answer, or, if that has begun, behind it.
func (c *call) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && !c.begun:
		// A verb that has nothing to say.
		c.begin("text/plain", "")
	case err == nil:
	case !c.begun:
		c.unwanted()
		shape, status := shapeOf(err)
		c.deadline(c.control.SetWriteDeadline, c.idle)
		writeError(c.w, status, shape)
	default:
		c.deadline(c.control.SetWriteDeadline, c.idle)
		h := c.w.Header()
		message := err.Error()
		if len(message) > maxTrailer {
			message = strings.ToValidUTF8(message[:maxTrailer], "") + "…"
		}
		h.Set(streamError, oneLine(message))
		h.Set(streamCodes, strings.Join(codesOf(err), ","))
	}
}

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// trailerError is the error that came behind an answer, if one did.
func trailerError(h http.Header) error {
	message := h.Get(streamError)
	if message == "" {
		return nil
	}
	return &Error{Message: message, Codes: strings.Split(h.Get(streamCodes), ",")}
}
