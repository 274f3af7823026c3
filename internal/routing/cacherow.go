package routing

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// rowVersion is the first byte of a row of the cache.
	rowVersion = 1

	// maxName bounds the name of a source or a protocol, maxPeerID an id, both in
	// bytes: no implementation inlines a key of 4 KiB, and the longest ids in use
	// have 42 bytes.
	maxName   = 128
	maxPeerID = 128

	// maxProtocols bounds the transfer protocols of a provider.
	maxProtocols = 16

	// rowWorked is the flag of a provider that delivered.
	rowWorked = 1
)

var errRow = errors.New("malformed row")

// encodeRow writes a row: a version, the number of providers, and for each:
// flags, the expiry in Unix seconds, and, each after its length, its id, source,
// protocols and addresses.
func encodeRow(providers []cachedProvider) []byte {
	b := binary.AppendUvarint([]byte{rowVersion}, uint64(len(providers)))
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, p := range providers {
		flags := byte(0)
		if p.worked {
			flags |= rowWorked
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(max(0, p.until.Unix())))
		text(string(p.ID))
		text(p.Source)
		b = binary.AppendUvarint(b, uint64(len(p.Protocols)))
		for _, name := range p.Protocols {
			text(name)
		}
		b = binary.AppendUvarint(b, uint64(len(p.Addrs)))
		for _, a := range p.Addrs {
			text(string(a.Bytes()))
		}
	}
	return b
}

// decodeRow reads a row, which another program or a failing disk may have
// damaged.
func decodeRow(b []byte) ([]cachedProvider, error) {
	r := rowReader{b: b}
	if r.byte() != rowVersion {
		return nil, errRow
	}
	n := r.number(maxRow)
	var providers []cachedProvider
	for range n {
		var p cachedProvider
		p.worked = r.byte()&rowWorked != 0
		p.until = time.Unix(int64(r.number(1<<40)), 0)
		p.ID = peer.ID(r.text(maxPeerID))
		p.Source = r.text(maxName)
		for range r.number(maxProtocols) {
			p.Protocols = append(p.Protocols, r.text(maxName))
		}
		for range r.number(maxAddrs) {
			a, err := ma.NewMultiaddrBytes([]byte(r.text(maxAddr)))
			if err != nil || len(a) == 0 {
				return nil, errRow
			}
			p.Addrs = append(p.Addrs, a)
		}
		if r.bad || !validID(p.ID) {
			return nil, errRow
		}
		providers = append(providers, p)
	}
	if r.bad || len(r.b) > 0 {
		return nil, errRow
	}
	return providers, nil
}

// A rowReader reads the fields of a row. After the first malformed one, it
// returns zeroes.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) byte() byte {
	if r.bad || len(r.b) == 0 {
		r.bad = true
		return 0
	}
	b := r.b[0]
	r.b = r.b[1:]
	return b
}

func (r *rowReader) number(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) text(limit uint64) string {
	n := r.number(limit)
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
