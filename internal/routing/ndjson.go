package routing

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// maxLine bounds a line of an answer, in bytes: a record has some 500, and
	// one with every address of a big node a few thousand.
	maxLine = 64 << 10

	// maxBody bounds an answer, in bytes, maxRecords the records read from it: no
	// caller tries more providers, and a router might never stop.
	maxBody    = 4 << 20
	maxRecords = 1000

	// maxBadLines bounds the lines that are skipped: records of unknown schemas,
	// and malformed ones.
	maxBadLines = 1000

	// unknownProtocol stands in a filter for providers that list no protocols
	// (IPIP-484).
	unknownProtocol = "unknown"
)

var (
	errLine = fmt.Errorf("answer has a line longer than %d bytes", maxLine)
	errBody = fmt.Errorf("answer is larger than %d bytes", maxBody)
	errMany = fmt.Errorf("answer has more than %d invalid lines", maxBadLines)
)

// A jsonRecord is a record of /routing/v1, of schema peer or the older schema
// bitswap.
type jsonRecord struct {
	Schema    string
	Protocol  string // of bitswap
	ID        string
	Addrs     []string
	Protocols []string
}

// toProvider converts a record. It returns false if the record is of no use.
func (r jsonRecord) toProvider(s scope) (p Provider, ok bool) {
	switch r.Schema {
	case "peer":
	case "bitswap":
		r.Protocols = []string{r.Protocol}
	default:
		return p, false
	}
	if len(r.ID) > 2*maxPeerID {
		return p, false
	}
	id, err := peer.Decode(r.ID)
	if err != nil {
		return p, false
	}
	p.ID = id
	var addrs []ma.Multiaddr
	for _, text := range r.Addrs[:min(len(r.Addrs), 4*maxAddrs)] {
		if len(text) > 2*maxAddr {
			continue
		}
		if a, err := ma.NewMultiaddr(text); err == nil {
			addrs = append(addrs, a)
		}
	}
	p.Addrs = s.clean(id, addrs)
	if len(p.Addrs) == 0 && len(r.Addrs) > 0 {
		return p, false // none of its addresses is in the scope
	}
	for _, name := range r.Protocols[:min(len(r.Protocols), maxProtocols)] {
		if name != "" && len(name) <= maxName {
			p.Protocols = append(p.Protocols, name)
		}
	}
	return p, true
}

// readLines yields the records of an answer that has one on each line.
func readLines(r io.Reader, s scope) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		body := &io.LimitedReader{R: r, N: maxBody + 1}
		in := bufio.NewReaderSize(body, maxLine)
		good, bad := 0, 0
		for good < maxRecords {
			line, err := in.ReadSlice('\n')
			if err == bufio.ErrBufferFull {
				err = errLine
			}
			if body.N == 0 {
				err = errBody
			}
			if err != nil && err != io.EOF {
				yield(Provider{}, err)
				return
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				var record jsonRecord // declared here, so that empty lines cost nothing
				p, ok := Provider{}, false
				if json.Unmarshal(line, &record) == nil {
					p, ok = record.toProvider(s)
				}
				if ok {
					good++
					if !yield(p, nil) {
						return
					}
				} else if bad++; bad > maxBadLines {
					yield(Provider{}, errMany)
					return
				}
			}
			if err == io.EOF {
				return
			}
		}
	}
}

// jsonRecords are the first maxRecords records of a list. In memory the smallest
// take forty times the size of their text.
type jsonRecords []jsonRecord

// UnmarshalJSON implements json.Unmarshaler.
func (r *jsonRecords) UnmarshalJSON(list []byte) error {
	in := json.NewDecoder(bytes.NewReader(list))
	begin, err := in.Token()
	switch {
	case err != nil || begin == nil: // null
		return err
	case begin != json.Delim('['):
		return errors.New("answer has no list of records")
	}
	for bad := 0; in.More() && len(*r) < maxRecords; {
		var text json.RawMessage
		if err := in.Decode(&text); err != nil {
			return err
		}
		var record jsonRecord
		switch {
		case len(text) <= maxLine && json.Unmarshal(text, &record) == nil:
			*r = append(*r, record)
		case bad == maxBadLines:
			return errMany
		default:
			bad++
		}
	}
	return nil
}

// readObject yields the records of an answer that is one object.
func readObject(r io.Reader, s scope) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
		if err == nil && len(b) > maxBody {
			err = errBody
		}
		var object struct{ Providers, Peers jsonRecords }
		if err == nil {
			err = json.Unmarshal(b, &object)
		}
		if err != nil {
			yield(Provider{}, err)
			return
		}
		records := slices.Concat(object.Providers, object.Peers)
		for _, record := range records[:min(len(records), maxRecords)] {
			if p, ok := record.toProvider(s); ok && !yield(p, nil) {
				return
			}
		}
	}
}

// readRecords yields the records of an answer of the given media type.
func readRecords(media string, r io.Reader, s scope) iter.Seq2[Provider, error] {
	switch media {
	case mediaLines:
		return readLines(r, s)
	case mediaObject:
		return readObject(r, s)
	}
	return func(yield func(Provider, error) bool) {
		yield(Provider{}, fmt.Errorf("answer has media type %q, want %s or %s", media[:min(len(media), maxName)], mediaLines, mediaObject))
	}
}

// matchesProtocols reports whether a provider passes a filter of protocols
// (IPIP-484).
func matchesProtocols(p Provider, filter []string) bool {
	if len(filter) == 0 {
		return true
	}
	if len(p.Protocols) == 0 {
		return slices.Contains(filter, unknownProtocol)
	}
	return slices.ContainsFunc(p.Protocols, func(name string) bool { return slices.Contains(filter, name) })
}
