package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// misdeeds are what -sabotage knows, each by its first word.
var misdeeds = []string{"connect", "crash", "exec", "hang", "memory", "read /etc/passwd"}

// header begins the first line of a file that is no PDF but a misdeed; the misdeed follows.
const header = "%PDF-demo "

// verb is the first word of a misdeed.
func verb(deed string) string {
	word, _, _ := strings.Cut(deed, " ")
	return word
}

// parseMisdeeds reads the value of -sabotage: a list with commas, or true for all of them.
func parseMisdeeds(list string) (deeds []string, err error) {
	if list == "true" {
		return misdeeds, nil
	}
	for word := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(misdeeds, func(deed string) bool { return verb(deed) == word })
		if i < 0 {
			return nil, fmt.Errorf("it takes some of connect,crash,exec,hang,memory,read")
		}
		deeds = append(deeds, misdeeds[i])
	}
	return deeds, nil
}

// writeMisdeeds writes a file for each misdeed into a temporary directory, which the caller removes.
func writeMisdeeds(deeds []string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "pdftext-"); err != nil {
		return "", err
	}
	sub := filepath.Join(dir, "sabotage")
	err = os.Mkdir(sub, 0o777)
	for _, deed := range deeds {
		if err == nil {
			err = os.WriteFile(filepath.Join(sub, verb(deed)+".pdf"), []byte(header+deed+"\n"), 0o666)
		}
	}
	if err != nil {
		os.RemoveAll(dir)
	}
	return dir, err
}

// misbehave stands in for extract where the file is a misdeed. A PDF that takes over the code that reads it is rare; here
// is what it could try then, written on its first line. What nothing stops is an error, too, that says so.
func misbehave(_ context.Context, d document) (string, error) {
	data, err := os.ReadFile(d.path)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	deed := strings.TrimPrefix(string(line), header)
	switch verb(deed) {
	case "hang":
		select {} // the context may end: nobody listens
	case "crash":
		*(*byte)(unsafe.Add(nil, 1<<30)) = 1 // a real SIGSEGV, which no recover can catch
	case "memory":
		var hoard [][]byte
		for ; ; time.Sleep(time.Millisecond) { // slowly: whoever watches it should see it
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += 4096 { // memory counts once it is written to
				b[i] = 1
			}
			hoard = append(hoard, b)
			runtime.KeepAlive(hoard)
		}
	case "read":
		var b []byte
		path := strings.TrimPrefix(deed, "read ")
		b, err = os.ReadFile(path)
		deed = fmt.Sprintf("read the %d bytes of %s", len(b), path)
	case "connect":
		var conn net.Conn
		if conn, err = net.Dial("udp", "127.0.0.1:53"); err == nil { // nothing is sent
			conn.Close()
		}
	case "exec":
		err = exec.Command("echo").Run()
	default:
		err = fmt.Errorf("there is no misdeed %q", deed)
	}
	if err == nil {
		err = fmt.Errorf("nothing stopped it: %s", deed)
	}
	return "", err
}
