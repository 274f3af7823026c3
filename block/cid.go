package block

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
	_ "github.com/multiformats/go-multihash/register/all" // blake2, blake3, sha3
	"github.com/multiformats/go-varint"
)

// Codecs and hash codes that the code names (table: multiformats/multicodec).
const (
	Raw     = uint64(multicodec.Raw)
	DagPB   = uint64(multicodec.DagPb)
	DagCBOR = uint64(multicodec.DagCbor)
	DagJSON = uint64(multicodec.DagJson)
	CBOR    = uint64(multicodec.Cbor)
	JSON    = uint64(multicodec.Json)
	DagJOSE = uint64(multicodec.DagJose)
	GitRaw  = uint64(multicodec.GitRaw)

	Identity = uint64(multicodec.Identity)
	SHA2_256 = uint64(multicodec.Sha2_256)
)

// refused has the reasons why known hash functions are not trusted to name blocks.
var refused = map[multicodec.Code]string{
	multicodec.Md4:                    "collisions are easy to make",
	multicodec.Md5:                    "collisions are easy to make",
	multicodec.Murmur3X64_64:          "it is not a cryptographic hash",
	multicodec.Murmur3X64_128:         "it is not a cryptographic hash",
	multicodec.Murmur3_32:             "it is not a cryptographic hash",
	multicodec.Crc32:                  "it is not a cryptographic hash",
	multicodec.Crc64Ecma:              "it is not a cryptographic hash",
	multicodec.Ripemd128:              "it is too short",
	multicodec.X11:                    "it is not implemented",
	multicodec.Kangarootwelve:         "it is not implemented",
	multicodec.Keccak224:              "it is not implemented",
	multicodec.Keccak384:              "it is not implemented",
	multicodec.Blake2s160:             "it is not implemented",
	multicodec.Blake2s224:             "it is not implemented",
	multicodec.Sm3_256:                "it is not implemented",
	multicodec.Ripemd160:              "it is not implemented",
	multicodec.Ripemd256:              "it is not implemented",
	multicodec.Ripemd320:              "it is not implemented",
	multicodec.PoseidonBls12_381A2Fc1: "it is not implemented",
}

// accepted holds the hash functions in use on the public network (the list of
// boxo's verifcid, less what cannot be computed here). sha1 is among them
// because git names its objects so.
func accepted(code uint64) bool {
	switch c := multicodec.Code(code); c {
	case multicodec.Identity, multicodec.Sha1,
		multicodec.Sha2_256, multicodec.Sha2_512, multicodec.DblSha2_256,
		multicodec.Sha3_224, multicodec.Sha3_256, multicodec.Sha3_384, multicodec.Sha3_512,
		multicodec.Shake256, multicodec.Keccak256, multicodec.Keccak512,
		multicodec.Blake2s256, multicodec.Blake3:
		return true
	default:
		return c >= multicodec.Blake2b160 && c <= multicodec.Blake2b512
	}
}

// checkHash returns an error if that hash function, with a digest of that length
// (-1: its own), may not name blocks.
func checkHash(code uint64, length int) error {
	if !accepted(code) {
		name := multicodec.Code(code).String()
		if why, known := refused[multicodec.Code(code)]; known {
			return fmt.Errorf("%w: %s: %s", ErrHashRefused, name, why)
		}
		return fmt.Errorf("%w: %s (0x%x) is not used to name blocks", ErrHashRefused, name, code)
	}
	if code == Identity || length == -1 {
		return nil
	}
	if length < MinDigest {
		return fmt.Errorf("%w: %s truncated to %d bytes can be forged (the minimum is %d)", ErrHashRefused, multicodec.Code(code), length, MinDigest)
	}
	most := MaxDigest
	if multicodec.Code(code) != multicodec.Blake3 { // blake3's digests have any length
		most = min(most, multihash.DefaultLengths[code])
	}
	if length > most {
		return fmt.Errorf("%w: a digest of %d bytes of %s (the maximum is %d)", ErrHashRefused, length, multicodec.Code(code), most)
	}
	return nil
}

func sum(code uint64, length int, data []byte) (multihash.Multihash, error) {
	if code == SHA2_256 && (length == -1 || length == sha256.Size) {
		mh := make([]byte, 2+sha256.Size)
		mh[0], mh[1] = byte(SHA2_256), sha256.Size
		digest := sha256.Sum256(data)
		copy(mh[2:], digest[:])
		return mh, nil
	}
	mh, err := multihash.Sum(data, code, length)
	if errors.Is(err, multihash.ErrSumNotSupported) || errors.Is(err, multihash.ErrLenTooLarge) || errors.Is(err, multihash.ErrInvalidMultihash) {
		return nil, fmt.Errorf("%w: %w", ErrHashRefused, err)
	}
	return mh, err
}

// matches reports whether data hashes to c, which CheckCID has accepted.
func matches(c cid.Cid, data []byte) (bool, error) {
	mh := hashOf(c)
	if isSHA256(mh) {
		digest := sha256.Sum256(data)
		return mh[2:] == string(digest[:]), nil
	}
	d, err := multihash.Decode([]byte(mh))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.Code == Identity {
		return string(d.Digest) == string(data), nil
	}
	got, err := sum(d.Code, d.Length, data)
	return string(got) == mh, err
}

// CheckCID returns an error unless c can name a block here: it must be defined, of
// version 0 or 1, with an accepted hash of sensible length. Errors: ErrMalformed,
// ErrHashRefused, ErrTooLarge (an identity CID over MaxIdentity).
func CheckCID(c cid.Cid) error {
	if !c.Defined() {
		return fmt.Errorf("%w: an undefined CID", ErrMalformed)
	}
	mh := hashOf(c)
	if isSHA256(mh) {
		return nil
	}
	d, err := multihash.Decode([]byte(mh))
	if err != nil {
		return fmt.Errorf("%w: CID %x: %w", ErrMalformed, c.Bytes(), err)
	}
	if d.Code == Identity && d.Length > MaxIdentity {
		return fmt.Errorf("identity CID of %d bytes: %w (the limit is %d)", d.Length, ErrTooLarge, MaxIdentity)
	}
	if err := checkHash(d.Code, d.Length); err != nil {
		return fmt.Errorf("CID %s: %w", c, err)
	}
	return nil
}

// ParseCID reads a CID in any of its text forms and checks it as CheckCID.
func ParseCID(s string) (cid.Cid, error) {
	// The longest text is base2: its prefix, and eight characters a byte.
	if len(s) > 1+8*MaxCID {
		return cid.Undef, fmt.Errorf("%w: a CID of %d characters", ErrMalformed, len(s))
	}
	c, err := cid.Decode(s)
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: invalid CID %q: %w", ErrMalformed, s, err)
	}
	return c, CheckCID(c)
}

// ReadCID reads the binary CID at the start of p and returns it, checked as
// CheckCID, with the number of bytes it takes.
func ReadCID(p []byte) (cid.Cid, int, error) {
	// cid.CidFromBytes may convert all of its argument to a string.
	n, c, err := cid.CidFromBytes(p[:min(len(p), MaxCID)])
	if err != nil {
		return cid.Undef, 0, fmt.Errorf("%w: binary CID: %w", ErrMalformed, err)
	}
	return c, n, CheckCID(c)
}

// IsIdentity reports whether c carries its block's bytes itself.
func IsIdentity(c cid.Cid) bool {
	if !c.Defined() {
		return false
	}
	mh := hashOf(c)
	return len(mh) > 0 && mh[0] == byte(Identity)
}

// hashOf returns the multihash in a defined CID without the copy that
// cid.Cid's Hash makes: it is called for every block and every link.
func hashOf(c cid.Cid) string {
	s := c.KeyString()
	if isSHA256(s) {
		return s // of version 0, which is the multihash alone
	}
	// The version is the one byte 1; the codec is a varint, whose last byte is
	// below 0x80.
	for i := 1; i < len(s); i++ {
		if s[i] < 0x80 {
			return s[i+1:]
		}
	}
	return ""
}

// isSHA256 reports whether mh is a whole multihash of sha2-256.
func isSHA256(mh string) bool {
	return len(mh) == 2+sha256.Size && mh[0] == byte(SHA2_256) && mh[1] == sha256.Size
}

// Digest returns the digest inside a multihash. It shares mh's memory.
func Digest(mh multihash.Multihash) ([]byte, error) {
	_, n, err := varint.FromUvarint(mh)
	if err != nil {
		return nil, fmt.Errorf("%w: multihash: %w", ErrMalformed, err)
	}
	length, m, err := varint.FromUvarint(mh[n:])
	if err != nil || uint64(len(mh)-n-m) != length {
		return nil, fmt.Errorf("%w: multihash of %d bytes", ErrMalformed, len(mh))
	}
	return mh[n+m:], nil
}

// V1 returns c as a CIDv1: CIDv0 and CIDv1 dag-pb name the same block.
func V1(c cid.Cid) cid.Cid {
	if c.Prefix().Version == 0 {
		return cid.NewCidV1(DagPB, c.Hash())
	}
	return c
}

// Equal reports whether two CIDs name the same block: the same multihash and
// codec.
func Equal(a, b cid.Cid) bool {
	return a == b || a.Defined() && b.Defined() && V1(a) == V1(b)
}
