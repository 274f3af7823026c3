// Package block defines what all other packages of Cairn share: the immutable
// Block, checks of CIDs, the limits, the sentinel errors, and the small interfaces
// (Getter, Putter, Haver, …: one method each) that stores of blocks implement.
//
// The key type is [Block]: bytes and the CID that names them, checked against
// each other. A Block is made by [New] from bytes, or by [Verify] from bytes
// and the CID they claim; there is no unchecked way to make one. (Package store
// returns a block that it verified before after checking a checksum instead of
// the hash, through [Internal].)
//
// Everything here is immutable or stateless, and safe for concurrent use.
//
// The package does not look inside blocks (package internal/dag does) and
// stores nothing.
package block

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/ipfs/go-cid"
)

// Limits, each with where it comes from.
const (
	// MaxSize is the largest block accepted, in bytes. Bitswap peers of the
	// public network refuse larger ones (specs: bitswap, "block sizes").
	MaxSize = 2 << 20

	// MaxIdentity is the most bytes an identity CID may carry inline, as in
	// the rest of the network (boxo's verifcid).
	MaxIdentity = 128

	// MaxDigest is the longest digest accepted, in bytes: that of sha2-512
	// doubled, beyond which no hash in use goes.
	MaxDigest = 128

	// MinDigest is the shortest digest accepted of a hash that isn't
	// identity, in bytes (160 bits): less can be forged.
	MinDigest = 20

	// MaxCID is the longest binary CID accepted, in bytes: version, codec and
	// hash code as varints of at most nine bytes each, a length, a digest.
	MaxCID = 1 + 9 + 9 + 2 + MaxDigest
)

// The errors that callers test for with [errors.Is]. What a function returns
// wraps one of these with the operation and the CID.
var (
	// ErrNotFound: the block isn't here (or, in a session, no source has it).
	ErrNotFound = errors.New("block not found")
	// ErrHashMismatch: the bytes don't match the CID.
	ErrHashMismatch = errors.New("bytes do not match the hash")
	// ErrTooLarge: the block is over MaxSize, or the identity CID over
	// MaxIdentity.
	ErrTooLarge = errors.New("too large")
	// ErrHashRefused: the CID's hash function is unknown, broken or cut too
	// short to be trusted.
	ErrHashRefused = errors.New("hash function refused")
	// ErrMalformed: a CID, or a block's bytes, can't be decoded.
	ErrMalformed = errors.New("malformed")
	// ErrDamaged: stored bytes have changed.
	ErrDamaged = errors.New("damaged on disk")
	// ErrUnknownCodec: no function here finds the links of blocks of that codec.
	ErrUnknownCodec = errors.New("unknown codec")
)

// A Block is bytes and the CID that names them. The zero Block is not valid;
// its CID is cid.Undef.
type Block struct {
	cid  cid.Cid
	data []byte
}

// New makes a block of data, named by a CIDv1 of the given codec and sha2-256.
// The block keeps data, which must not be changed afterwards. It fails with
// ErrTooLarge if data is over MaxSize.
func New(codec uint64, data []byte) (Block, error) {
	return NewWithPrefix(cid.Prefix{Version: 1, Codec: codec, MhType: SHA2_256, MhLength: -1}, data)
}

// NewWithPrefix is New for any CID version, codec and hash. An MhLength of -1
// means the hash function's own.
func NewWithPrefix(p cid.Prefix, data []byte) (Block, error) {
	if p.MhType != Identity && len(data) > MaxSize {
		return Block{}, fmt.Errorf("new block of %d bytes: %w (the limit is %d)", len(data), ErrTooLarge, MaxSize)
	}
	if p.MhType == Identity && len(data) > MaxIdentity {
		return Block{}, fmt.Errorf("new identity CID of %d bytes: %w (the limit is %d)", len(data), ErrTooLarge, MaxIdentity)
	}
	if p.MhType == Identity && p.MhLength != -1 && p.MhLength != len(data) {
		return Block{}, fmt.Errorf("new identity CID of %d bytes: %w: invalid length %d", len(data), ErrMalformed, p.MhLength)
	}
	if err := checkHash(p.MhType, p.MhLength); err != nil {
		return Block{}, fmt.Errorf("new block: %w", err)
	}
	mh, err := sum(p.MhType, p.MhLength, data)
	if err != nil {
		return Block{}, fmt.Errorf("new block: %w", err)
	}
	switch p.Version {
	case 0:
		if p.Codec != DagPB || p.MhType != SHA2_256 || len(mh) != 34 {
			return Block{}, fmt.Errorf("new block: %w: a CIDv0 must be dag-pb with sha2-256", ErrMalformed)
		}
		return Block{cid: cid.NewCidV0(mh), data: data}, nil
	case 1:
		return Block{cid: cid.NewCidV1(p.Codec, mh), data: data}, nil
	}
	return Block{}, fmt.Errorf("new block: %w: invalid CID version %d: want 0 or 1", ErrMalformed, p.Version)
}

// Verify makes a block of data, if it matches c. The block keeps data, which must
// not be changed afterwards. Errors: ErrTooLarge, ErrHashRefused, ErrMalformed for
// the CID; ErrHashMismatch.
func Verify(c cid.Cid, data []byte) (Block, error) {
	if err := CheckCID(c); err != nil {
		return Block{}, err
	}
	if len(data) > MaxSize {
		return Block{}, fmt.Errorf("verify %s: %d bytes: %w (the limit is %d)", c, len(data), ErrTooLarge, MaxSize)
	}
	ok, err := matches(c, data)
	if err != nil {
		return Block{}, fmt.Errorf("verify %s: %w", c, err)
	}
	if !ok {
		return Block{}, fmt.Errorf("verify %s: %d bytes: %w", c, len(data), ErrHashMismatch)
	}
	return Block{cid: c, data: data}, nil
}

// CID names the block.
func (b Block) CID() cid.Cid { return b.cid }

// Data returns the block's bytes. They are shared and must not be changed.
func (b Block) Data() []byte { return b.data }

// Size is the block's size in bytes.
func (b Block) Size() int { return len(b.data) }

// Checksum is the CRC-32C (Castagnoli) of the bytes.
func (b Block) Checksum() uint32 { return crc32.Checksum(b.data, castagnoli) }

// Clone returns the same block in memory of its own.
func (b Block) Clone() Block { return Block{cid: b.cid, data: bytes.Clone(b.data)} }

// WithCodec returns the same bytes under another codec. The multihash stays the
// same, so the block stays verified. The CID is of version 1.
func (b Block) WithCodec(codec uint64) Block {
	return Block{cid: cid.NewCidV1(codec, b.cid.Hash()), data: b.data}
}

// WithCID returns the same bytes under c. It fails with ErrHashMismatch unless c
// has the same multihash.
func (b Block) WithCID(c cid.Cid) (Block, error) {
	if string(c.Hash()) != string(b.cid.Hash()) {
		return Block{}, fmt.Errorf("rename %s to %s: %w", b.cid, c, ErrHashMismatch)
	}
	return Block{cid: c, data: b.data}, nil
}

// Inlined returns the block that an identity CID carries, and whether c is an
// identity CID.
func Inlined(c cid.Cid) (Block, bool) {
	if !IsIdentity(c) {
		return Block{}, false
	}
	digest, err := Digest(c.Hash())
	if err != nil || len(digest) > MaxIdentity {
		return Block{}, false
	}
	return Block{cid: c, data: digest}, true
}
