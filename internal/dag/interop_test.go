package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/cairn-ipfs/cairn/block"
)

// primeLinks decodes a block with go-ipld-prime, in its most tolerant mode,
// and returns all links in it.
func primeLinks(codec uint64, data []byte) ([]cid.Cid, error) {
	var n datamodel.Node
	var err error
	switch codec {
	case block.DagPB:
		nb := dagpb.Type.PBNode.NewBuilder()
		err = dagpb.DecodeBytes(nb, data)
		if err == nil {
			n = nb.Build()
		}
	case block.DagCBOR:
		nb := basicnode.Prototype.Any.NewBuilder()
		err = dagcbor.DecodeOptions{AllowLinks: true, RelaxedDecode: true}.Decode(nb, bytes.NewReader(data))
		if err == nil {
			n = nb.Build()
		}
	case block.DagJSON:
		nb := basicnode.Prototype.Any.NewBuilder()
		err = dagjson.Decode(nb, bytes.NewReader(data))
		if err == nil {
			n = nb.Build()
		}
	}
	if err != nil {
		return nil, err
	}
	return nodeLinks(nil, n)
}

func nodeLinks(links []cid.Cid, n datamodel.Node) ([]cid.Cid, error) {
	switch n.Kind() {
	case datamodel.Kind_Link:
		l, err := n.AsLink()
		if err != nil {
			return nil, err
		}
		return append(links, l.(cidlink.Link).Cid), nil
	case datamodel.Kind_Map:
		for it := n.MapIterator(); !it.Done(); {
			_, v, err := it.Next()
			if err != nil {
				return nil, err
			}
			if v.IsAbsent() {
				continue
			}
			if links, err = nodeLinks(links, v); err != nil {
				return nil, err
			}
		}
	case datamodel.Kind_List:
		for it := n.ListIterator(); !it.Done(); {
			_, v, err := it.Next()
			if err != nil {
				return nil, err
			}
			if links, err = nodeLinks(links, v); err != nil {
				return nil, err
			}
		}
	}
	return links, nil
}

// errOurLimit: go-ipld-prime accepts links that Links refuses, as documented.
var errOurLimit = errors.New("a link over the limits of package block")

// expected computes the documented result of Links from the links of a block.
func expected(links []cid.Cid) ([]cid.Cid, error) {
	var want []cid.Cid
	for _, c := range links {
		if c.ByteLen() > block.MaxCID {
			return nil, errOurLimit
		}
		mine := []cid.Cid{c}
		if block.IsIdentity(c) {
			b, ok := block.Inlined(c)
			if !ok {
				return nil, errOurLimit
			}
			mine, _ = Links(b) // none if it can't be decoded
		}
		for _, c := range mine {
			if !slices.ContainsFunc(want, func(have cid.Cid) bool { return block.Equal(have, c) }) {
				want = append(want, c)
			}
		}
	}
	return want, nil
}

func randomCID(r *rand.Rand) cid.Cid {
	digest := make([]byte, 32)
	for i := range digest {
		digest[i] = byte(r.Uint32())
	}
	digest[1] = byte(r.IntN(2)) // so that some are equal
	if r.IntN(3) == 0 {
		clear(digest[2:])
		digest[0] = byte(r.IntN(2))
	}
	switch r.IntN(8) {
	case 0:
		return cid.NewCidV0(cat("\x12\x20", digest))
	case 1:
		return cid.NewCidV1(block.DagPB, cat("\x12\x20", digest))
	case 2:
		return cid.NewCidV1(0x0129, cat("\xa0\xe4\x02\x20", digest)) // dag-json, blake2b-256
	case 3:
		return cid.NewCidV1(block.GitRaw, cat("\x11\x14", digest[:20]))
	case 4:
		return cid.NewCidV1(block.Raw, cat("\x00\x05", digest[:5]))
	case 5:
		return cid.NewCidV1(block.DagCBOR, cat("\x00\x27", "\xd8\x2a\x58\x23\x00", "\x12\x20", digest))
	}
	return cid.NewCidV1(block.Raw, cat("\x12\x20", digest))
}

func assembleRandom(r *rand.Rand, na datamodel.NodeAssembler, depth int) {
	kind := r.IntN(9)
	if depth > 4 {
		kind = 3 + r.IntN(6)
	}
	switch kind {
	case 0, 1:
		n := r.IntN(6)
		qp.Map(int64(n), func(ma datamodel.MapAssembler) {
			for i := range n {
				qp.MapEntry(ma, fmt.Sprint("key \"\\ü", i), func(na datamodel.NodeAssembler) { assembleRandom(r, na, depth+1) })
			}
		})(na)
	case 2:
		n := r.IntN(30)
		qp.List(int64(n), func(la datamodel.ListAssembler) {
			for range n {
				qp.ListEntry(la, func(na datamodel.NodeAssembler) { assembleRandom(r, na, depth+1) })
			}
		})(na)
	case 3:
		qp.String(fmt.Sprintf("text /%c", rune(r.IntN(0x10ffff))))(na)
	case 4:
		qp.Bytes([]byte(fmt.Sprint(r.Uint64())))(na)
	case 5:
		qp.Int(r.Int64() - r.Int64())(na)
	case 6:
		qp.Float(r.NormFloat64())(na)
	default:
		qp.Link(cidlink.Link{Cid: randomCID(r)})(na)
	}
}

// Links finds in nodes that go-ipld-prime encodes the links that go-ipld-prime finds, in
// its order.
func TestLinksAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var found int
	for i := range 600 {
		nb := basicnode.Prototype.Any.NewBuilder()
		assembleRandom(r, nb, 0)
		n := nb.Build()
		pb, err := qp.BuildMap(dagpb.Type.PBNode, 2, func(ma datamodel.MapAssembler) {
			count := r.IntN(40)
			qp.MapEntry(ma, "Links", qp.List(int64(count), func(la datamodel.ListAssembler) {
				for range count {
					qp.ListEntry(la, qp.Map(3, func(ma datamodel.MapAssembler) {
						qp.MapEntry(ma, "Hash", qp.Link(cidlink.Link{Cid: randomCID(r)}))
						if r.IntN(2) == 0 {
							qp.MapEntry(ma, "Name", qp.String(fmt.Sprint(r.Uint32())))
						}
						if r.IntN(2) == 0 {
							qp.MapEntry(ma, "Tsize", qp.Int(r.Int64()))
						}
					}))
				}
			}))
			if r.IntN(3) == 0 {
				qp.MapEntry(ma, "Data", qp.Bytes([]byte("data")))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		var asPB, asCBOR, asJSON bytes.Buffer
		if err := errors.Join(dagpb.Encode(pb, &asPB), dagcbor.Encode(n, &asCBOR), dagjson.Encode(n, &asJSON)); err != nil {
			t.Fatal(err)
		}
		for codec, data := range map[uint64][]byte{block.DagPB: asPB.Bytes(), block.DagCBOR: asCBOR.Bytes(), block.DagJSON: asJSON.Bytes()} {
			prime, err := primeLinks(codec, data)
			if err != nil {
				t.Fatalf("go-ipld-prime can't decode what it encoded: %v", err)
			}
			want, err := expected(prime)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Links(newBlock(t, codec, data))
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("node %d, codec 0x%x, %x: got %v, %v, want %v", i, codec, data, got, err, want)
			}
			found += len(got)
		}
	}
	if found < 5_000 {
		t.Errorf("the nodes had %d links in all, too few to say much", found)
	}
}

// FuzzLinks: Links returns only its documented errors, and finds the same links as
// go-ipld-prime in blocks that that decodes.
func FuzzLinks(f *testing.F) {
	a, b := leaf(f, "a"), leaf(f, "b")
	f.Add(uint8(0), pbNode(a, b))
	f.Add(uint8(0), cat(pbBytes(1, nil), pbLink(cid.NewCidV0(a.Hash()), "x")))
	f.Add(uint8(1), cat("\xa2\x61a", cborList(b, a), "\x61b\xfb\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(uint8(1), []byte("\x84\xf6\x20\x61x\xd8\x2a\x45\x00\x01\x55\x00\x00"))
	f.Add(uint8(2), cat(`{"a":[`, jsonLink(b), `,1.5e3,null],"b":{"/":{"bytes":"YQ"}}}`))
	f.Add(uint8(3), cat("\xa1\x67payload\x58\x24", a.Bytes()))
	f.Add(uint8(4), []byte("tree 29\x00100644 a\x0001234567890123456789"))
	f.Add(uint8(4), []byte("commit 46\x00tree 0123456789012345678901234567890123456789\n"))
	codecs := []uint64{block.DagPB, block.DagCBOR, block.DagJSON, block.DagJOSE, block.GitRaw}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		if len(data) > block.MaxSize {
			return
		}
		codec := codecs[int(which)%len(codecs)]
		got, err := Links(newBlock(t, codec, data))
		if err != nil && !errors.Is(err, block.ErrMalformed) {
			t.Fatalf("got %v, want no error or ErrMalformed", err)
		}
		for i, c := range got {
			if block.IsIdentity(c) || slices.ContainsFunc(got[:i], func(d cid.Cid) bool { return block.Equal(c, d) }) {
				t.Errorf("%s is an identity CID or comes twice", c)
			}
		}
		if codec == block.DagJOSE || codec == block.GitRaw {
			return
		}
		prime, primeErr := primeLinks(codec, data)
		// go-ipld-prime's JSON accepts trailing commas and other things that aren't JSON.
		if primeErr != nil || codec == block.DagJSON && !json.Valid(data) {
			return
		}
		want, wantErr := expected(prime)
		if wantErr != nil {
			return
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("codec 0x%x: got %v, %v, want %v", codec, got, err, want)
		}
	})
}

func benchmarkNode(b *testing.B, n int, name func(i int) string) block.Block {
	var p []byte
	for i := range n {
		p = append(p, pbLink(leaf(b, fmt.Sprint(i)), name(i))...)
	}
	return newBlock(b, block.DagPB, append(p, pbBytes(1, []byte("\x08\x01"))...))
}

// The node of a file of 174 chunks, as go-ipfs makes them, and a directory of 12,000
// entries.
func benchmarkNodes(b *testing.B) map[string]block.Block {
	return map[string]block.Block{
		"file of 174 links":   benchmarkNode(b, 174, func(int) string { return "" }),
		"directory of 12,000": benchmarkNode(b, 12_000, func(i int) string { return fmt.Sprintf("a file's name %05d", i) }),
	}
}

func BenchmarkLinks(b *testing.B) {
	for name, node := range benchmarkNodes(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(node.Size()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Links(node); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGoCodecDAGPB is the yardstick of BenchmarkLinks: decoding the same
// nodes, without yet collecting the links.
func BenchmarkGoCodecDAGPB(b *testing.B) {
	for name, node := range benchmarkNodes(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(node.Size()))
			b.ReportAllocs()
			for b.Loop() {
				nb := dagpb.Type.PBNode.NewBuilder()
				if err := dagpb.DecodeBytes(nb, node.Data()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
