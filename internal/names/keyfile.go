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
	// filePrefix and the key's name in base 32 make the file name, as in Kubo's
	// keystore; so files can be copied between the two.
	filePrefix = "key_"

	// tempPrefix begins the names of temporary files.
	tempPrefix = ".new-"

	// sealedPrefix begins the first line of an encrypted key's file. The IPNS
	// name follows, so that keys can be listed without the passphrase. The rest
	// of the file is an age file.
	sealedPrefix = "cairn-key-1 "

	// maxWorkFactor bounds the work that a file may ask for, as a base-2
	// logarithm: a few seconds.
	maxWorkFactor = 20
)

var fileEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

func fileName(name string) string {
	return filePrefix + strings.ToLower(fileEncoding.EncodeToString([]byte(name)))
}

// parseFileName is the inverse of fileName. It returns false for other files.
func parseFileName(file string) (string, bool) {
	code, ok := strings.CutPrefix(file, filePrefix)
	if !ok || code != strings.ToLower(code) {
		return "", false
	}
	name, err := fileEncoding.DecodeString(strings.ToUpper(code))
	return string(name), err == nil
}

// A keyFile is the content of a key's file: the key, plain or encrypted.
type keyFile struct {
	id     Name
	key    crypto.PrivKey // nil: encrypted
	sealed []byte         // the age file
}

// parseKeyFile parses a key's file. It fails with ErrInvalid.
func parseKeyFile(data []byte) (keyFile, error) {
	if rest, ok := bytes.CutPrefix(data, []byte(sealedPrefix)); ok {
		line, sealed, ok := bytes.Cut(rest, []byte("\n"))
		if !ok || len(data) > 2*maxKeyData {
			return keyFile{}, fmt.Errorf("%w: the file is truncated or too long", ErrInvalid)
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

// open returns the key, decrypted. It fails with ErrPassphrase, ErrInvalid.
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
	// The first line isn't authenticated.
	if id, err := NameOf(key.GetPublic()); err != nil || id != f.id {
		return nil, fmt.Errorf("%w: the file's first line names the key %s, and the file holds %s", ErrInvalid, f.id, id)
	}
	return key, nil
}

// marshalKeyFile encodes the file of a key, encrypted unless the passphrase is
// empty. A workFactor of 0 is age's default.
func marshalKeyFile(id Name, key crypto.PrivKey, passphrase string, workFactor int) ([]byte, error) {
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
