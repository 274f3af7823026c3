package trustless

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Limits of a request.
const (
	// MaxHave is how many roots a client may name as held: as many versions as a
	// mirror would keep.
	MaxHave = 16
	// maxPath is the longest path and query that is parsed, in bytes: MaxHave CIDs
	// in a usual base take a fourteenth of it.
	maxPath = 16 << 10
	// maxSegments is how many segments a path may have: each costs a few reads.
	maxSegments = 128
	// maxAccept is the longest Accept header that is parsed, in bytes. Browsers
	// send some 150.
	maxAccept = 4 << 10
)

// A Scope is the wanted part of a DAG (IPIP-402). The zero Scope is ScopeAll.
type Scope string

const (
	// ScopeAll is everything below the root.
	ScopeAll Scope = "all"
	// ScopeEntity is the file or directory at the root; of a directory, without
	// the files in it.
	ScopeEntity Scope = "entity"
	// ScopeBlock is the root alone.
	ScopeBlock Scope = "block"
)

// format is what is returned.
type format int

const (
	formatNone format = iota
	formatRaw
	formatCAR
)

const (
	typeRaw = "application/vnd.ipld.raw"
	typeCAR = "application/vnd.ipld.car"
)

func (f format) String() string {
	return [...]string{"none", "raw", "car"}[f]
}

// A request is what an HTTP request asks for.
type request struct {
	root     cid.Cid
	path     []string // below root, unescaped
	format   format
	location string // Content-Location; empty if the URL alone has this response
	filename string // empty: named by the CID
	remote   string // the sender

	// The following are of CARs.
	scope    Scope
	bytes    *ByteRange
	order    string // dfs or unk
	dups     bool
	have     []cid.Cid // sorted by the text in which they came
	haveText []string
	noLeaves bool
}

// A refusal is an answer other than 200, with a message for the client.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// parseRequest parses a request. Its errors are *refusal.
func parseRequest(r *http.Request) (*request, error) {
	escaped := r.URL.EscapedPath()
	if len(escaped)+len(r.URL.RawQuery) > maxPath {
		return nil, refuse(http.StatusRequestURITooLong, "a path and query of over %d bytes", maxPath)
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the query can't be read: %v", err)
	}
	var rq request
	if err := rq.parsePath(escaped); err != nil {
		return nil, err
	}
	params, err := rq.negotiate(r.Header, q)
	if err != nil {
		return nil, err
	}
	rq.filename = q.Get("filename")
	if rq.format == formatRaw {
		if len(rq.path) > 0 {
			return nil, refuse(http.StatusNotAcceptable, "a raw block is asked for by its CID, without a path; a path is answered with format=car")
		}
	} else if err := rq.parseCAR(params, q); err != nil {
		return nil, err
	}
	rq.locate(escaped, params, q)
	return &rq, nil
}

// parsePath parses /ipfs/{cid}[/{path}].
func (rq *request) parsePath(escaped string) error {
	rest, ok := strings.CutPrefix(escaped, "/ipfs/")
	switch {
	case strings.HasPrefix(escaped, "/ipns/"):
		return refuse(http.StatusNotImplemented, "names aren't resolved here; ask for /ipfs/{cid}")
	case !ok:
		return refuse(http.StatusNotFound, "nothing is served here but /ipfs/{cid}")
	}
	root, rest, _ := strings.Cut(rest, "/")
	root, err := url.PathUnescape(root)
	if err == nil {
		rq.root, err = block.ParseCID(root)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "/ipfs/ is not followed by a CID that can name a block here: %v", err)
	}
	for segment := range strings.SplitSeq(rest, "/") {
		segment, err := url.PathUnescape(segment)
		switch {
		case err != nil:
			return refuse(http.StatusBadRequest, "the path can't be read: %v", err)
		case segment == "":
			continue
		case segment == "." || segment == "..":
			return refuse(http.StatusBadRequest, "a path with %q in it", segment)
		case len(rq.path) == maxSegments:
			return refuse(http.StatusBadRequest, "a path of more than %d parts", maxSegments)
		}
		rq.path = append(rq.path, segment)
	}
	return nil
}

// negotiate chooses the format. It returns the parameters from the Accept header.
func (rq *request) negotiate(h http.Header, q url.Values) (params carParams, err error) {
	accepts := h.Values("Accept")
	ranges, err := parseAccept(accepts)
	if err != nil {
		return carParams{}, err
	}
	switch f := q.Get("format"); f {
	case "raw":
		rq.format = formatRaw
		return carParams{}, nil
	case "car":
		rq.format = formatCAR
		best, _ := bestOf(ranges, formatCAR)
		return best.params, nil
	case "":
	default:
		return carParams{}, refuse(http.StatusNotAcceptable, "format=%.40s isn't served here, only raw and car", f)
	}
	if best, ok := bestOf(ranges, formatNone); ok {
		rq.format = best.format
		return best.params, nil
	}
	if len(accepts) == 0 {
		return carParams{}, refuse(http.StatusBadRequest, "no format was asked for; say format=raw or format=car in the query, or send an Accept header")
	}
	return carParams{}, refuse(http.StatusNotAcceptable, "only %s and %s (version=1; order=dfs or unk; dups=y or n) are served here", typeRaw, typeCAR)
}

// parseCAR parses the query parameters of CARs, which override those of the Accept
// header (IPIP-523).
func (rq *request) parseCAR(params carParams, q url.Values) error {
	params = params.overridden(q)
	if !params.supported() {
		return refuse(http.StatusBadRequest, "a CAR is sent with car-version=1, car-order=dfs or unk, and car-dups=y or n")
	}
	rq.order = "dfs"
	if params.order != "" {
		rq.order = params.order
	}
	rq.dups = params.dups == "y"

	rq.scope = ScopeAll
	if q.Has("entity-bytes") {
		b, err := ParseByteRange(q.Get("entity-bytes"))
		if err != nil {
			return refuse(http.StatusBadRequest, "%v", err)
		}
		rq.bytes, rq.scope = &b, ScopeEntity
	}
	if q.Has("dag-scope") {
		switch s := Scope(q.Get("dag-scope")); s {
		case ScopeAll, ScopeEntity, ScopeBlock:
			// entity-bytes implies entity; only block narrows it.
			if rq.bytes == nil || s == ScopeBlock {
				rq.scope = s
			}
		default:
			return refuse(http.StatusBadRequest, "dag-scope=%.40s is none of block, entity and all", s)
		}
	}
	return rq.parseHave(q)
}

// parseHave parses the parameters of docs/spec/have.md.
func (rq *request) parseHave(q url.Values) error {
	if !q.Has("have") && !q.Has("leaves") {
		return nil
	}
	if rq.scope != ScopeAll {
		return refuse(http.StatusBadRequest, "have and leaves go with dag-scope=all only")
	}
	if rq.dups {
		return refuse(http.StatusBadRequest, "have and leaves go with car-dups=n only")
	}
	if q.Has("leaves") {
		switch v := q["leaves"]; {
		case len(v) == 1 && v[0] == "n":
			rq.noLeaves = true
		case len(v) == 1 && v[0] == "y":
		default:
			return refuse(http.StatusBadRequest, "leaves is neither y nor n")
		}
	}
	if q.Has("have") {
		if len(q["have"]) > 1 {
			return refuse(http.StatusBadRequest, "have is given more than once; it takes a list")
		}
		have, err := ParseCIDs(q.Get("have"))
		if err != nil {
			return refuse(http.StatusBadRequest, "have: %v", err)
		}
		rq.haveText = strings.Split(q.Get("have"), ",")
		if !slices.IsSorted(rq.haveText) {
			return refuse(http.StatusBadRequest, "have: the CIDs aren't sorted")
		}
		rq.have = have
	}
	return nil
}

var errTooManyCIDs = fmt.Errorf("more than %d CIDs", MaxHave)

// ParseCIDs parses a list of one to MaxHave different CIDs, separated by commas.
func ParseCIDs(s string) ([]cid.Cid, error) {
	if strings.Count(s, ",") >= MaxHave {
		return nil, errTooManyCIDs
	}
	var cids []cid.Cid
	for text := range strings.SplitSeq(s, ",") {
		c, err := block.ParseCID(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(cids, func(o cid.Cid) bool { return block.Equal(o, c) }) {
			return nil, errors.New("a CID twice")
		}
		cids = append(cids, c)
	}
	return cids, nil
}

// locate sets the URL of this response without an Accept header.
func (rq *request) locate(escaped string, params carParams, q url.Values) {
	if q.Get("format") != "" && params == (carParams{}) {
		return
	}
	q.Set("format", rq.format.String())
	params.setIn(q)
	rq.location = escaped + "?" + q.Encode()
}
