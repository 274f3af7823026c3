package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
)

// Headers and trailers, as Kubo has them.
const (
	streamOutput  = "X-Stream-Output"
	chunkedOutput = "X-Chunked-Output"
	// ContentLength is the length of an answer of bytes, where it is known.
	ContentLength = "X-Content-Length"
	// StreamError is the trailer with the message of an error after the answer
	// began. StreamCodes is ours: the codes of that error.
	StreamError = "X-Stream-Error"
	StreamCodes = "X-Cairn-Error"
)

// maxTrailer bounds the message of an error behind an answer, in bytes. Go's
// clients read trailers of 4 KiB in all, and take a longer one for an attack.
const maxTrailer = 3 << 10

// The errors of requests themselves.
var (
	// ErrBadRequest: the arguments or options are invalid.
	ErrBadRequest = errors.New("bad request")
	// ErrForbidden: the API doesn't do that, or not for this client.
	ErrForbidden = errors.New("forbidden")
)

// A Code names an error on its way to the client. The first code of an error
// that has a Status decides the answer's.
type Code struct {
	Code   string
	Err    error
	Status int // 0: left to later codes, and then 500
}

// FileCode is the code of an error about a file on the server's disk: an
// *fs.PathError there is one at the client, too.
const FileCode = "file"

// requestCodes are the codes of requests themselves.
var requestCodes = []Code{
	{"bad-request", ErrBadRequest, http.StatusBadRequest},
	{"forbidden", ErrForbidden, http.StatusForbidden},
}

// CodesOf returns all codes of an error.
func CodesOf(codes []Code, err error) []string {
	all, _ := codesOf(codes, err)
	return all
}

func codesOf(codes []Code, err error) (all []string, status int) {
	status = http.StatusInternalServerError
	decided := false
	for _, c := range slices.Concat(codes, requestCodes) {
		if !errors.Is(err, c.Err) {
			continue
		}
		all = append(all, c.Code)
		if c.Status != 0 && !decided {
			status, decided = c.Status, true
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		all = append(all, FileCode)
	}
	return all, status
}

// IsCode reports whether a code names target.
func IsCode(codes []Code, code string, target error) bool {
	return slices.ContainsFunc(slices.Concat(codes, requestCodes), func(c Code) bool { return c.Code == code && c.Err == target })
}

// A TaggedError is an error that also is a sentinel its message doesn't name.
type TaggedError struct {
	error
	is error
}

// Tag makes a TaggedError.
func Tag(err, is error) error { return TaggedError{err, is} }

// Unwrap returns the error and the sentinel.
func (e TaggedError) Unwrap() []error { return []error{e.error, e.is} }

// BadRequest returns an error that is ErrBadRequest.
func BadRequest(format string, args ...any) error {
	return TaggedError{fmt.Errorf(format, args...), ErrBadRequest}
}

// Forbidden returns an error that is ErrForbidden.
func Forbidden(format string, args ...any) error {
	return TaggedError{fmt.Errorf(format, args...), ErrForbidden}
}

// An ErrorBody is an answer that is an error: Kubo's shape, and ours inside.
type ErrorBody struct {
	Message string
	Code    int          // 0, or 1 for a bad request, 4 for a forbidden one
	Type    string       // "error"
	Cairn   *ErrorDetail `json:",omitempty"`
}

// An ErrorDetail is an error with its codes.
type ErrorDetail struct {
	Message string   `json:"message"`
	Codes   []string `json:"codes"`
}

// Detail returns an error with its codes.
func (c *Call) Detail(err error) *ErrorDetail {
	return &ErrorDetail{err.Error(), CodesOf(c.server.config.Codes, err)}
}

// describe returns the body of an error, and its HTTP status.
func (c *Call) describe(err error) (ErrorBody, int) {
	codes, status := codesOf(c.server.config.Codes, err)
	b := ErrorBody{Message: err.Error(), Type: "error", Cairn: &ErrorDetail{err.Error(), codes}}
	if c.verb.Message != nil {
		b.Message = c.verb.Message(err)
	}
	switch status {
	case http.StatusBadRequest:
		b.Code = 1
	case http.StatusForbidden:
		b.Code = 4
	}
	return b, status
}

// refuse answers with an error in place of a verb.
func (c *Call) refuse(status int, err error) {
	c.discardBody()
	c.begun = true
	b, _ := c.describe(err)
	switch status {
	case http.StatusForbidden:
		b.Code = 4
	case http.StatusServiceUnavailable:
	default:
		b.Code = 1
	}
	c.deadline(c.control.SetWriteDeadline, c.idle)
	writeError(c.w, status, b)
}

func writeError(w http.ResponseWriter, status int, b ErrorBody) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that doesn't read has disconnected.
	_ = json.NewEncoder(w).Encode(b)
}

// fail reports an error: in the answer, or, if that has begun, behind it.
func (c *Call) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && !c.begun:
		// A verb without a result.
		c.begin("text/plain", "")
	case err == nil:
	case !c.begun:
		c.discardBody()
		b, status := c.describe(err)
		c.deadline(c.control.SetWriteDeadline, c.idle)
		writeError(c.w, status, b)
	default:
		c.deadline(c.control.SetWriteDeadline, c.idle)
		h := c.w.Header()
		message := err.Error()
		if len(message) > maxTrailer {
			message = strings.ToValidUTF8(message[:maxTrailer], "") + "…"
		}
		h.Set(StreamError, oneLine(message))
		h.Set(StreamCodes, strings.Join(CodesOf(c.server.config.Codes, err), ","))
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
