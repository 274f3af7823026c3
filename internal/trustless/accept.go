package trustless

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// carParams are the parameters of a CAR's media type (IPIP-412); empty if they
// weren't given.
type carParams struct{ version, order, dups string }

// overridden returns the parameters, with those of the query in their place.
func (p carParams) overridden(q url.Values) carParams {
	for name, field := range map[string]*string{"car-version": &p.version, "car-order": &p.order, "car-dups": &p.dups} {
		if v := q.Get(name); v != "" {
			*field = v
		}
	}
	return p
}

// setIn adds the parameters to a query that lacks them.
func (p carParams) setIn(q url.Values) {
	for name, value := range map[string]string{"car-version": p.version, "car-order": p.order, "car-dups": p.dups} {
		if value != "" && q.Get(name) == "" {
			q.Set(name, value)
		}
	}
}

func (p carParams) supported() bool {
	return (p.version == "" || p.version == "1") &&
		(p.order == "" || p.order == "dfs" || p.order == "unk") &&
		(p.dups == "" || p.dups == "y" || p.dups == "n")
}

// A mediaRange is an entry of an Accept header that can be served.
type mediaRange struct {
	format  format
	params  carParams
	quality float64
}

// parseAccept parses Accept headers (RFC 9110, section 12.5.1) and returns the
// entries that can be served. Wildcards are ignored: a client that names no
// trustless format expects another one.
func parseAccept(headers []string) ([]mediaRange, error) {
	length := 0
	for _, h := range headers {
		length += len(h)
	}
	if length > maxAccept {
		return nil, refuse(http.StatusRequestHeaderFieldsTooLarge, "an Accept header of over %d bytes", maxAccept)
	}
	var ranges []mediaRange
	for _, h := range headers {
		for part := range splitList(h) {
			media, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			m := mediaRange{quality: 1}
			switch media {
			case typeRaw:
				m.format = formatRaw
			case typeCAR:
				m.format = formatCAR
				m.params = carParams{params["version"], params["order"], params["dups"]}
			default:
				continue
			}
			if q, ok := params["q"]; ok {
				m.quality, err = strconv.ParseFloat(q, 64)
				if err != nil || !(m.quality >= 0 && m.quality <= 1) {
					continue
				}
			}
			if m.quality > 0 && m.params.supported() {
				ranges = append(ranges, m)
			}
		}
	}
	return ranges, nil
}

// splitList yields the entries of a header that is a list, separated by commas
// outside of quotes.
func splitList(h string) func(func(string) bool) {
	return func(yield func(string) bool) {
		quoted, begin := false, 0
		for i := 0; i <= len(h); i++ {
			switch {
			case i < len(h) && h[i] == '"':
				quoted = !quoted
			case i < len(h) && h[i] == '\\' && quoted:
				i++
			case i == len(h) || h[i] == ',' && !quoted:
				if part := strings.TrimSpace(h[begin:i]); part != "" && !yield(part) {
					return
				}
				begin = i + 1
			}
		}
	}
}

// bestOf returns the media range of the highest quality, the first of several. It
// is of that format, or of any for formatNone.
func bestOf(ranges []mediaRange, f format) (best mediaRange, ok bool) {
	for _, m := range ranges {
		if (f == formatNone || m.format == f) && m.quality > best.quality {
			best, ok = m, true
		}
	}
	return best, ok
}
