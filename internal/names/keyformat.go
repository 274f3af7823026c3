package names

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/crypto/pb"
)

const (
	// maxKeyData bounds an encoded key, in bytes: the largest in use, RSA of
	// 8192 bits, takes 6.3 KiB as PEM.
	maxKeyData = 16 << 10

	// minRSA and maxRSA bound RSA keys, in bits, as in libp2p. (No environment
	// variable lowers them here.)
	minRSA = 2048
	maxRSA = 8192

	pemType = "PRIVATE KEY"
)

// A Format is an encoding of private keys.
type Format int

const (
	// FormatProtobuf is the protobuf of the peer id specification, Kubo's
	// default (libp2p-protobuf-cleartext).
	FormatProtobuf Format = iota
	// FormatPEM is PKCS #8 in PEM, not encrypted (Kubo: pem-pkcs8-cleartext).
	// It can't encode secp256k1 keys.
	FormatPEM
)

// MarshalKey encodes a private key.
func MarshalKey(key crypto.PrivKey, format Format) ([]byte, error) {
	if format == FormatProtobuf {
		data, err := crypto.MarshalPrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("names: marshal key: %w", err)
		}
		return data, nil
	}
	if key.Type() == pb.KeyType_Secp256k1 {
		return nil, errors.New("names: marshal key: PEM has no format for secp256k1 keys; use protobuf")
	}
	std, err := crypto.PrivKeyToStdKey(key)
	if err != nil {
		return nil, fmt.Errorf("names: marshal key: %w", err)
	}
	if k, ok := std.(*ed25519.PrivateKey); ok {
		std = *k
	}
	der, err := x509.MarshalPKCS8PrivateKey(std)
	if err != nil {
		return nil, fmt.Errorf("names: marshal key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// UnmarshalKey decodes a private key in either format: Ed25519, RSA of 2048 to
// 8192 bits, ECDSA on P-256, P-384 or P-521, secp256k1 as protobuf. It fails
// with ErrInvalid.
func UnmarshalKey(data []byte) (crypto.PrivKey, error) {
	if len(data) > maxKeyData {
		return nil, fmt.Errorf("names: key: %w: %d bytes, want %d at most", ErrInvalid, len(data), maxKeyData)
	}
	parse := crypto.UnmarshalPrivateKey
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		parse = unmarshalPEM
	}
	key, err := parse(data)
	if err == nil {
		err = checkKey(key)
	}
	if err != nil {
		return nil, fmt.Errorf("names: key: %w: %w", ErrInvalid, err)
	}
	return key, nil
}

func unmarshalPEM(data []byte) (crypto.PrivKey, error) {
	block, rest := pem.Decode(bytes.TrimSpace(data))
	switch {
	case block == nil:
		return nil, errors.New("want one PEM block")
	case block.Type != pemType:
		return nil, fmt.Errorf("PEM type %q, want %q: PKCS #8, not encrypted", block.Type, pemType)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("data after the PEM block, want none")
	}
	std, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if k, ok := std.(ed25519.PrivateKey); ok {
		std = &k
	}
	key, _, err := crypto.KeyPairFromStdKey(std)
	return key, err
}

// checkKey refuses weak keys, and Ed25519 keys whose public half doesn't match:
// their signatures reveal the private half.
func checkKey(key crypto.PrivKey) error {
	std, err := crypto.PrivKeyToStdKey(key)
	if err != nil {
		return err
	}
	switch k := std.(type) {
	case *ed25519.PrivateKey:
		if len(*k) != ed25519.PrivateKeySize || !bytes.Equal(ed25519.NewKeyFromSeed(k.Seed()), *k) {
			return errors.New("the halves of the Ed25519 key don't match")
		}
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Errorf("RSA key of %d bits, want %d to %d", bits, minRSA, maxRSA)
		}
	case *ecdsa.PrivateKey:
		if bits := k.Curve.Params().BitSize; bits < 256 {
			return fmt.Errorf("ECDSA key of %d bits, want 256 at least", bits)
		}
	}
	return nil
}
