// Posts what it reads, a line each: path, type, body. With and without an offer of another protocol.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func post(way, url, kind string, body io.Reader, headers ...string) {
	request, err := http.NewRequest("POST", url, body)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	for at := 0; at < len(headers); at += 2 {
		request.Header.Set(headers[at], headers[at+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Printf("%d\t%s\t%s\n", answer.StatusCode, way, text)
}

func main() {
	http.DefaultTransport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second
	offer := []string{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), "\t", 3)
		url, kind, body := os.Args[1]+parts[0], parts[1], []byte(parts[2])
		streamed := func() io.Reader { return io.MultiReader(bytes.NewReader(body)) }
		post("of a length", url, kind, bytes.NewReader(body))
		post("in chunks", url, kind, streamed())
		post("expecting", url, kind, bytes.NewReader(body), "Expect", "100-continue")
		post("offering", url, kind, bytes.NewReader(body), offer...)
		post("offering, in chunks", url, kind, streamed(), offer...)
		post("offering, expecting", url, kind, streamed(), append([]string{"Expect", "100-continue"}, offer...)...)
	}
}
