import java.io.ByteArrayInputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;

/** Posts what it reads, a line each: path, type, body. As Java does it of itself, which offers HTTP/2. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var lasting = HttpClient.newHttpClient();
        for (String line; (line = lines.readLine()) != null; ) {
            var parts = line.split("\t", 3);
            var body = parts[2].getBytes(StandardCharsets.UTF_8);
            post("of a length", lasting, arguments[0] + parts[0], parts[1], BodyPublishers.ofByteArray(body), false);
            post("in chunks", lasting, arguments[0] + parts[0], parts[1], streamed(body), false);
            post("expecting", lasting, arguments[0] + parts[0], parts[1], streamed(body), true);
            post("new", HttpClient.newHttpClient(), arguments[0] + parts[0], parts[1], streamed(body), false);
        }
    }

    static BodyPublisher streamed(byte[] body) {
        return BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body));
    }

    static void post(String way, HttpClient client, String url, String type, BodyPublisher body, boolean expecting)
            throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).header("Content-Type", type)
                .expectContinue(expecting).POST(body).build();
        var answer = client.send(request, BodyHandlers.ofString());
        System.out.println(answer.statusCode() + "\t" + way + "\t" + answer.body());
    }
}
