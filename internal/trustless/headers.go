package trustless

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
)

// The headers of docs/spec/have.md.
const (
	headerHave   = "Cairn-Have"
	headerLeaves = "Cairn-Leaves"
)

const (
	cacheForever = "public, max-age=29030400, immutable"
	cacheNever   = "no-store"
)

// maxFilename is the longest file name in a Content-Disposition, in bytes: file
// systems take no longer ones.
const maxFilename = 255

// contentType returns the Content-Type, with all parameters.
func (rq *request) contentType() string {
	if rq.format == formatRaw {
		return typeRaw
	}
	dups := "n"
	if rq.dups {
		dups = "y"
	}
	return typeCAR + "; version=1; order=" + rq.order + "; dups=" + dups
}

// etag returns the ETag, which covers all that the response depends on; of the
// haves, those honoured. A CAR's is weak, since servers may order it differently.
func (rq *request) etag(honoured []cid.Cid) string {
	if rq.format == formatRaw {
		return `"` + rq.root.String() + `.raw"`
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q scope=%s order=%s dups=%t leaves=%t", rq.path, rq.scope, rq.order, rq.dups, !rq.noLeaves)
	if rq.bytes != nil {
		fmt.Fprintf(h, " bytes=%s", rq.bytes)
	}
	for _, c := range honoured {
		fmt.Fprintf(h, " have=%s", c)
	}
	return `W/"` + rq.root.String() + ".car." + string(rq.scope) + "." + hex.EncodeToString(h.Sum(nil)[:8]) + `"`
}

// etagMatches reports whether an If-None-Match header names the tag, by the weak
// comparison (RFC 9110, section 13.1.2).
func etagMatches(headers []string, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, h := range headers {
		for candidate := range splitList(h) {
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// disposition returns the Content-Disposition. It makes browsers save the response
// and not show it.
func (rq *request) disposition() string {
	name := rq.filename
	if name == "" || len(name) > maxFilename {
		name = rq.root.String() + map[format]string{formatRaw: ".bin", formatCAR: ".car"}[rq.format]
		return `attachment; filename="` + name + `"`
	}
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, name)
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + url.PathEscape(name)
}

// setHeaders sets the headers that raw blocks and CARs share, except ETag and
// Cache-Control.
func (rq *request) setHeaders(h http.Header) {
	h["Content-Type"] = []string{rq.contentType()}
	h["Content-Disposition"] = []string{rq.disposition()}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if rq.location != "" {
		h["Content-Location"] = []string{rq.location}
		h["Vary"] = []string{"Accept"}
	}
}

// setCaching sets ETag and Cache-Control.
func setCaching(h http.Header, etag, control string) {
	h["Etag"] = []string{etag}
	h["Cache-Control"] = []string{control}
}

// textOf lists the honoured haves as the request spelled them.
func (rq *request) textOf(honoured []cid.Cid) string {
	var texts []string
	for i, c := range rq.have {
		if slices.Contains(honoured, c) {
			texts = append(texts, rq.haveText[i])
		}
	}
	return strings.Join(texts, ",")
}

// onlyIfCached reports whether the client wants 412 in place of 404.
func onlyIfCached(h http.Header) bool {
	for _, v := range h.Values("Cache-Control") {
		for directive := range splitList(v) {
			if strings.EqualFold(directive, "only-if-cached") {
				return true
			}
		}
	}
	return false
}
