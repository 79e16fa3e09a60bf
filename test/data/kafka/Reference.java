/*
 * Reference.java
 *	  Kafka's own Java client, asked what it does.  Run by make_reference.sh.
 *
 *	murmur2						vectors of the default partitioner's hash
 *	produce BROKERS TOPIC CODEC	a fixed set of records; prints what was sent
 *	compactable BROKERS TOPIC	records whose keys repeat
 *	transactions BROKERS TOPIC CODEC	committed, aborted, committed
 *	consume BROKERS TOPIC		print all records, aborted ones too
 *	decode FILE					print the records of a segment file
 *
 * Records are printed one a line, as README.md says.
 */
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.FileRecords;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Utils;

public class Reference
{
	static final long T0 = 1700000000000L;

	static String hex(byte[] b)
	{
		if (b == null)
			return "null";
		StringBuilder s = new StringBuilder("x");
		for (byte x : b)
			s.append(String.format("%02x", x));
		return s.toString();
	}

	static byte[] bytes(ByteBuffer b)
	{
		return b == null ? null : Utils.toArray(b);
	}

	static byte[] utf8(String s)
	{
		return s.getBytes(StandardCharsets.UTF_8);
	}

	static void print(long offset, long timestamp, byte[] key, byte[] value, Header[] headers)
	{
		StringBuilder s = new StringBuilder();
		for (Header h : headers)
			s.append(s.length() > 0 ? "," : "").append(hex(utf8(h.key())))
				.append('=').append(hex(h.value()));
		System.out.println(offset + "\t" + timestamp + "\t" + hex(key) + "\t" + hex(value)
			+ "\t[" + s + "]");
	}

	static void murmur2()
	{
		Random random = new Random(1);
		List<byte[]> keys = new ArrayList<>();

		for (int length = 0; length <= 64; length++)
			for (int i = 0; i < (length == 0 ? 1 : 4); i++)
			{
				byte[] key = new byte[length];
				if (i < 3)
					random.nextBytes(key);
				else
					for (int j = 0; j < length; j++)
						key[j] = (byte) ('a' + random.nextInt(26));
				keys.add(key);
			}
		for (String s : new String[] {"0", "1", "42", "customer-17", "Grüße", "été", "日本語のキー",
			"ключ", "مفتاح", "🐘", "🐘🐘🐘", "a\u0000b", "naïve café", "ß", "Ω≈ç√∫", "\u00ff"})
			keys.add(utf8(s));
		for (int fill : new int[] {0x00, 0x7f, 0x80, 0xff})
			for (int length : new int[] {1, 3, 4, 5, 7, 200})
			{
				byte[] key = new byte[length];
				Arrays.fill(key, (byte) fill);
				keys.add(key);
			}
		System.out.println("# key\tmurmur2\tpartition of 12");
		for (byte[] key : keys)
			System.out.println(hex(key) + "\t" + Utils.murmur2(key) + "\t"
				+ BuiltInPartitioner.partitionForKey(key, 12));
	}

	static Properties clientProperties(String brokers)
	{
		Properties p = new Properties();
		p.put("bootstrap.servers", brokers);
		p.put("key.serializer", ByteArraySerializer.class.getName());
		p.put("value.serializer", ByteArraySerializer.class.getName());
		p.put("key.deserializer", ByteArrayDeserializer.class.getName());
		p.put("value.deserializer", ByteArrayDeserializer.class.getName());
		return p;
	}

	static KafkaProducer<byte[], byte[]> producer(String brokers, String codec, String transactionalId)
	{
		Properties p = clientProperties(brokers);
		p.put("compression.type", codec);
		p.put("batch.size", "65536");
		p.put("linger.ms", "60000");	/* batches end where we flush */
		p.put("delivery.timeout.ms", "120000");
		if (transactionalId != null)
			p.put("transactional.id", transactionalId);
		return new KafkaProducer<>(p);
	}

	static ProducerRecord<byte[], byte[]> record(String topic, long timestamp, byte[] key, byte[] value,
		Header... headers)
	{
		return new ProducerRecord<>(topic, 0, timestamp, key, value, Arrays.asList(headers));
	}

	static Header header(String name, byte[] value)
	{
		return new RecordHeader(name, value);
	}

	static void send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> batch)
		throws Exception
	{
		List<Future<RecordMetadata>> sent = new ArrayList<>();
		for (ProducerRecord<byte[], byte[]> r : batch)
			sent.add(producer.send(r));
		producer.flush();
		for (int i = 0; i < sent.size(); i++)
		{
			ProducerRecord<byte[], byte[]> r = batch.get(i);
			RecordMetadata m = sent.get(i).get();
			print(m.offset(), m.timestamp(), r.key(), r.value(), r.headers().toArray());
		}
		batch.clear();
	}

	static void produce(String brokers, String topic, String codec) throws Exception
	{
		try (KafkaProducer<byte[], byte[]> producer = producer(brokers, codec, null))
		{
			List<ProducerRecord<byte[], byte[]>> b = new ArrayList<>();
			byte[] all = new byte[256];
			byte[] empty = new byte[0];
			byte[] noise = new byte[300];
			Random random = new Random(2);

			for (int i = 0; i < 256; i++)
				all[i] = (byte) i;
			random.nextBytes(noise);

			/* one record alone */
			b.add(record(topic, T0, utf8("first"), utf8("one record in its batch")));
			send(producer, b);

			/* nulls and empties, in all combinations */
			b.add(record(topic, T0 + 1, null, utf8("null key")));
			b.add(record(topic, T0 + 2, utf8("tombstone"), null));
			b.add(record(topic, T0 + 3, null, null));
			b.add(record(topic, T0 + 4, empty, empty));
			b.add(record(topic, T0 + 5, empty, null));
			b.add(record(topic, T0 + 6, null, empty));
			b.add(record(topic, T0 + 7, all, all));
			b.add(record(topic, T0 + 8, utf8("Schlüssel-日本-🐘"), utf8("Wert: Ωμέγα")));
			send(producer, b);

			/* headers */
			b.add(record(topic, T0 + 1000, utf8("h"), utf8("one"), header("trace-id", utf8("abc"))));
			b.add(record(topic, T0 + 1001, null, utf8("duplicates"), header("a", utf8("1")),
				header("b", utf8("2")), header("a", utf8("3")), header("a", utf8("1"))));
			b.add(record(topic, T0 + 1002, null, null, header("null", null), header("empty", empty),
				header("binary", all), header("", utf8("empty name")), header("grün-日本", utf8("ß"))));
			Header[] many = new Header[100];
			for (int i = 0; i < many.length; i++)
				many[i] = header("h" + i, i % 3 == 0 ? null : utf8("v" + i));
			b.add(record(topic, T0 + 1003, utf8("many"), utf8("100 headers"), many));
			send(producer, b);

			/* timestamps out of order, far apart, and zero */
			b.add(record(topic, T0 + 5000, utf8("t"), utf8("later")));
			b.add(record(topic, T0 - 5000, utf8("t"), utf8("earlier")));
			b.add(record(topic, 0L, utf8("t"), utf8("1970")));
			b.add(record(topic, T0, utf8("t"), utf8("back")));
			send(producer, b);

			/* lengths around a varint's edges; noise that does not compress */
			for (int length : new int[] {1, 62, 63, 64, 65, 126, 127, 128})
			{
				byte[] value = new byte[length];
				Arrays.fill(value, (byte) ('a' + length % 26));
				b.add(record(topic, T0 + 6000 + length, utf8("length"), value));
			}
			b.add(record(topic, T0 + 6500, null, noise));
			send(producer, b);

			byte[] large = new byte[8200];
			for (int i = 0; i < large.length; i++)
				large[i] = (byte) "pg_eventlog ".charAt(i % 12);
			b.add(record(topic, T0 + 7000, utf8("large"), large));
			send(producer, b);

			/* an ordinary batch, past 64 and 128 offset deltas */
			for (int i = 0; i < 150; i++)
				b.add(record(topic, T0 + 8000 + i / 4, i % 2 == 0 ? null : utf8("c" + i % 10),
					utf8("{\"id\":" + i + "}")));
			send(producer, b);
		}
	}

	/* Compacted, the first segment has gaps at its start, inside and at its end. */
	static void compactable(String brokers, String topic) throws Exception
	{
		try (KafkaProducer<byte[], byte[]> producer = producer(brokers, "lz4", null))
		{
			List<ProducerRecord<byte[], byte[]>> b = new ArrayList<>();

			for (int batch = 0; batch < 3; batch++)
			{
				for (int i = 0; i < 30; i++)
				{
					boolean lasting = i % 7 == 3;
					b.add(record(topic, T0 + batch * 100 + i,
						utf8(lasting ? "keep-" + batch + "-" + i : "changes-" + i % 5),
						i == 10 ? null : utf8("value " + i + " of batch " + batch),
						header("batch", utf8("" + batch))));
				}
				send(producer, b);
			}
			/* each in a segment of its own, so that the others are closed */
			for (int i = 0; i < 3; i++)
			{
				Thread.sleep(1500);
				b.add(record(topic, System.currentTimeMillis(), utf8("roll-" + i), utf8("")));
				send(producer, b);
			}
		}
	}

	static void transactions(String brokers, String topic, String codec) throws Exception
	{
		try (KafkaProducer<byte[], byte[]> producer = producer(brokers, codec, "reference"))
		{
			List<ProducerRecord<byte[], byte[]>> b = new ArrayList<>();

			producer.initTransactions();
			for (int t = 0; t < 3; t++)
			{
				producer.beginTransaction();
				for (int i = 0; i < 10; i++)
					b.add(record(topic, T0 + t * 10 + i, utf8("t" + t), utf8("transaction " + t + " record " + i)));
				send(producer, b);
				if (t == 1)
					producer.abortTransaction();
				else
					producer.commitTransaction();
			}
		}
	}

	static void consume(String brokers, String topic)
	{
		try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(clientProperties(brokers)))
		{
			TopicPartition tp = new TopicPartition(topic, 0);
			consumer.assign(List.of(tp));
			consumer.seekToBeginning(List.of(tp));
			long end = consumer.endOffsets(List.of(tp)).get(tp);
			while (consumer.position(tp) < end)
				for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200)))
					print(r.offset(), r.timestamp(), r.key(), r.value(), r.headers().toArray());
		}
	}

	static void decode(String file) throws Exception
	{
		try (FileRecords records = FileRecords.open(new File(file), false))
		{
			for (RecordBatch batch : records.batches())
			{
				batch.ensureValid();
				for (Record r : batch)
				{
					r.ensureValid();
					print(r.offset(), r.timestamp(), bytes(r.key()), bytes(r.value()), r.headers());
				}
			}
		}
	}

	public static void main(String[] a) throws Exception
	{
		System.setOut(new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8"));
		switch (a[0])
		{
			case "murmur2": murmur2(); break;
			case "produce": produce(a[1], a[2], a[3]); break;
			case "compactable": compactable(a[1], a[2]); break;
			case "transactions": transactions(a[1], a[2], a[3]); break;
			case "consume": consume(a[1], a[2]); break;
			case "decode": decode(a[1]); break;
			default: throw new IllegalArgumentException(a[0]);
		}
	}
}
