package names

import (
	"bytes"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"github.com/libp2p/go-libp2p/core/crypto"
)

const (
	// filePrefix and the base 32 of the name make the name of a key's file, as
	// in a keystore of Kubo's; so a file of one can be copied to the other.
	filePrefix = "key_"

	// tempPrefix begins the names of files that are being written.
	tempPrefix = ".new-"

	// sealedPrefix begins the first line of an encrypted key's file. The key's
	// name follows, so that keys can be listed without the passphrase. What
	// comes after the line is an age file.
	sealedPrefix = "cairn-key-1 "

	// maxWorkFactor bounds the work that a file may ask for, as a power of
	// two: some seconds.
	maxWorkFactor = 20
)

var fileEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

func fileName(name string) string {
	return filePrefix + strings.ToLower(fileEncoding.EncodeToString([]byte(name)))
}

// nameOfFile is the inverse of fileName, and tells whether the file is a key's.
func nameOfFile(file string) (string, bool) {
	code, ok := strings.CutPrefix(file, filePrefix)
	if !ok || code != strings.ToLower(code) {
		return "", false
	}
	name, err := fileEncoding.DecodeString(strings.ToUpper(code))
	return string(name), err == nil
}

// A keyFile is what a file of a key holds: the key, or it encrypted.
type keyFile struct {
	id     Name
	key    crypto.PrivKey // nil if it is encrypted
	sealed []byte
}

// parseFile reads what a key's file holds. It fails with ErrInvalid.
func parseFile(data []byte) (keyFile, error) {
	if rest, ok := bytes.CutPrefix(data, []byte(sealedPrefix)); ok {
		line, sealed, ok := bytes.Cut(rest, []byte("\n"))
		if !ok || len(data) > 2*maxKeyData {
			return keyFile{}, fmt.Errorf("%w: the file is cut off, or too long", ErrInvalid)
		}
		id, err := ParseName(string(line))
		return keyFile{id: id, sealed: sealed}, err
	}
	key, err := UnmarshalKey(data)
	if err != nil {
		return keyFile{}, err
	}
	id, err := NameOf(key.GetPublic())
	return keyFile{id: id, key: key}, err
}

// open returns the key. It fails with ErrPassphrase.
func (f keyFile) open(passphrase string) (crypto.PrivKey, error) {
	switch {
	case f.key != nil:
		return f.key, nil
	case passphrase == "":
		return nil, fmt.Errorf("%w: it is encrypted", ErrPassphrase)
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	plain, err := age.Decrypt(bytes.NewReader(f.sealed), identity)
	if err != nil {
		if errors.Is(err, age.ErrIncorrectIdentity) {
			return nil, fmt.Errorf("%w: it is encrypted with another one", ErrPassphrase)
		}
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	data, err := io.ReadAll(io.LimitReader(plain, maxKeyData+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	key, err := UnmarshalKey(data)
	if err != nil {
		return nil, err
	}
	// The first line isn't encrypted: somebody may have changed it.
	if id, err := NameOf(key.GetPublic()); err != nil || id != f.id {
		return nil, fmt.Errorf("%w: the file says it holds the key %s, and it holds %s", ErrInvalid, f.id, id)
	}
	return key, nil
}

// marshalFile makes what the file of a key holds; encrypted unless there is no
// passphrase. A workFactor of 0 is age's own.
func marshalFile(id Name, key crypto.PrivKey, passphrase string, workFactor int) ([]byte, error) {
	data, err := MarshalKey(key, FormatProtobuf)
	if err != nil || passphrase == "" {
		return data, err
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	if workFactor != 0 {
		recipient.SetWorkFactor(workFactor)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s\n", sealedPrefix, id)
	w, err := age.Encrypt(&out, recipient)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}
